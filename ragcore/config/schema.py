"""The JSON Schema of a pipeline file, from the components that are installed.

Where a file names a component, the schema has one alternative for each component of that kind,
chosen by `use`; a component's own schema comes from its `Config`. Editors complete and check files
with it; `ragcore check` says more.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ragcore.config.models import PipelineConfig
from ragcore.errors import PluginError
from ragcore.registry.components import COMPONENT_MARK, config_class
from ragcore.registry.discovery import registry

__all__ = ["config_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/"


def config_schema(
    model: type[BaseModel] = PipelineConfig, noun: str = "pipeline"
) -> dict[str, Any]:
    """Return the schema, draft 2020-12.

    Args:
        model: what a file is read as.
        noun: what such a file is of, for the schema's title.

    For a component whose class cannot be loaded the schema allows any key; `ragcore check` says
    why it cannot.
    """
    definitions: dict[str, Any] = {}
    root = _schema_of(model, noun, definitions)
    waiting = _kinds_in(root) | _kinds_in(definitions)
    done: set[str] = set()
    while waiting:
        kind = min(waiting)
        done.add(kind)
        names = registry().names(kind)
        definitions[kind] = _one_of(kind, names)
        for name in names:
            component = _component(kind, name, definitions)
            definitions[_definition(kind, name)] = component
        waiting |= _kinds_in(definitions)
        waiting -= done
    return {"$schema": _DIALECT, "title": f"A ragcore {noun}"} | root | {"$defs": definitions}


def _one_of(kind: str, names: list[str]) -> dict[str, Any]:
    common = {"description": f"one of the installed components of kind {kind}", "type": "object"}
    if not names:
        return common | {"not": {}}
    return common | {
        "required": ["use"],
        "properties": {"use": {"enum": names}},
        "oneOf": [{"$ref": _REF + _definition(kind, name)} for name in names],
    }


def _component(kind: str, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    use = {"const": name, "description": f"the {kind} {name}"}
    try:
        model = config_class(kind, name)
    except PluginError as error:
        description = f"its class cannot be loaded: {error}"
        return {"type": "object", "description": description, "properties": {"use": use}}
    schema = _schema_of(model, _definition(kind, name), definitions)
    schema["properties"] = {"use": use, **schema.get("properties", {})}
    schema["required"] = ["use", *schema.get("required", [])]
    return schema


def _schema_of(model: type[BaseModel], prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a model's schema; the models nested in it are added to the definitions, by prefix."""
    schema = model.model_json_schema(
        ref_template=f"{_REF}{prefix}.{{model}}", schema_generator=_Generator
    )
    nested: dict[str, Any] = schema.pop("$defs", {})
    for name, inner in nested.items():
        definitions[f"{prefix}.{name}"] = _closed(inner)
    return _closed(schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Link a model's schema and forbid unknown keys, even where the model would ignore them."""
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return {key: _linked(value) for key, value in schema.items() if key != "title"}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator; accepts any value for a type that has no JSON Schema."""

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> JsonSchemaValue:
        return {}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _definition(kind: str, name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"{kind}.{name}")


def _linked(schema: Any) -> Any:
    """Replace each mark of a component in a schema by a reference to its kind."""
    if isinstance(schema, dict):
        linked = {key: _linked(value) for key, value in schema.items() if key != COMPONENT_MARK}
        return linked | (
            {"$ref": _REF + schema[COMPONENT_MARK]} if COMPONENT_MARK in schema else {}
        )
    return [_linked(item) for item in schema] if isinstance(schema, list) else schema


def _kinds_in(schema: Any) -> set[str]:
    """Collect the kinds that a schema refers to: references without a dot in their name."""
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        kinds = {ref.removeprefix(_REF)} if isinstance(ref, str) and "." not in ref else set()
        return kinds.union(*(_kinds_in(value) for value in schema.values()))
    if isinstance(schema, list):
        return set().union(*map(_kinds_in, schema))
    return set()
