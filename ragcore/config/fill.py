"""A pipeline file written out in full: what it says, and the default of all that it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ragcore.config.hints import keys_of
from ragcore.config.load import read_file
from ragcore.config.source import Items, Mapping, Node, Scalar, dump
from ragcore.registry.components import ComponentSpec, to_plain, yaml_key

__all__ = ["fill_config"]


def fill_config(path: str | Path, overrides: Sequence[str] = ()) -> str:
    """YAML with every default written out, in the models' order; it loads to an equal config.

    What the file says stays as it is written: relative paths, names of models, `${env:NAME}`.
    Comments and anchors are lost.

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
            filled[key] = _written(entry.value)
    return filled


def _value(node: Node, value: Any) -> Any:
    """What stands at a node, filled in where `value`, what it was read as, has defaults."""
    match node, value:
        case Mapping(), ComponentSpec():
            return {"use": _written(node.entries["use"].value), **_model(node, value.config)}
        case Mapping(), BaseModel():
            return _model(node, value)
        case Mapping(), dict():
            return {key: _value(one.value, value.get(key)) for key, one in node.entries.items()}
        case Items(), list() | tuple() if len(node.items) == len(value):
            return [_value(item, one) for item, one in zip(node.items, value, strict=True)]
        case _:
            return _written(node)


def _written(node: Node) -> Any:
    match node:
        case Mapping():
            return {key: _written(entry.value) for key, entry in node.entries.items()}
        case Items():
            return [_written(item) for item in node.items]
        case Scalar():
            return node.value
