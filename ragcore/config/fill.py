"""Write a pipeline file out in full: its own keys, and the default of every key it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ragcore.config.hints import keys_of
from ragcore.config.load import read_file
from ragcore.config.source import Items, Mapping, Node, dump, written_value
from ragcore.registry.components import ComponentSpec, to_plain, yaml_key

__all__ = ["fill_config"]


def fill_config(path: str | Path, overrides: Sequence[str] = ()) -> str:
    """Return YAML with every default written out, in the models' order.

    It loads to an equal config. The file's own values stay as they are written: relative paths,
    names of models, `${env:NAME}`. Comments and anchors are lost.

    Raises:
        ConfigError: as `load_config`.
    """
    tree, config = read_file(path, overrides)
    return dump(_model(tree, config))


def _model(node: Mapping, config: BaseModel) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    model = type(config)
    for name, field in model.model_fields.items():
        key = yaml_key(name, field)
        if key in node.entries:
            filled[key] = _value(node.entries[key].value, getattr(config, name))
        else:
            filled[key] = to_plain(field.get_default(call_default_factory=True, validated_data={}))
    for key, entry in node.entries.items():
        if key not in keys_of(model) and key != "use":
            filled[key] = written_value(entry.value)
    return filled


def _value(node: Node, value: Any) -> Any:
    """Return a node's plain value, filled in with the defaults of `value`, its parsed form."""
    match node, value:
        case Mapping(), ComponentSpec():
            return {"use": written_value(node.entries["use"].value), **_model(node, value.config)}
        case Mapping(), BaseModel():
            return _model(node, value)
        case Mapping(), dict():
            return {key: _value(entry.value, value.get(key)) for key, entry in node.entries.items()}
        case Items(), list() | tuple() if len(node.items) == len(value):
            return [_value(item, parsed) for item, parsed in zip(node.items, value, strict=True)]
        case _:
            return written_value(node)
