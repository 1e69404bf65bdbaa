"""The `Config` of a registered component, without its class where a hook names it, and its keys."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from ragcore.errors import PluginError
from ragcore.registry.conformance import check_class

__all__ = ["config_class", "yaml_key"]


def config_class(kind: str, name: str) -> type[BaseModel]:
    """Return the `Config` of a registered component, without importing its class if it can be.

    A class that is imported is checked against its contract.

    Raises:
        UnknownComponentError: no plugin gives the component.
        PluginError: it cannot be imported, has no `Config`, or one that is not ready for use; or
            its class was imported and lacks members of its contract.
    """
    from ragcore.registry.discovery import registry

    declared = registry().config_target(kind, name)
    if declared is None:
        component = registry().load(kind, name)
        # A class without a Config gets the message below.
        if not isinstance(component, type) or hasattr(component, "Config"):
            check_class(kind, name, component)
    model = registry().load_config(kind, name)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        if declared is not None:
            raise PluginError(
                f"{kind} {name!r}: its hook names the config {declared!r}, which is not a class "
                "of settings: name the class's own 'Config', a ragcore.ComponentConfig, as in "
                "ragcore.Target('package.module:Class', config='package.configs:ClassConfig')"
            )
        raise PluginError(
            f"{kind} {name!r} has no class 'Config': its plugin must give it one, a "
            "ragcore.ComponentConfig whose fields are the keys that YAML may say"
        )
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except (PydanticUserError, NameError) as error:
            raise PluginError(
                f"{kind} {name!r} has a 'Config' with an annotation that cannot be resolved "
                f"({error}): import its names outside of TYPE_CHECKING"
            ) from error
    return model


def yaml_key(name: str, field: FieldInfo) -> str:
    """Return a config field's key in YAML: its alias if it has one, as a field `from_` needs."""
    return field.validation_alias if isinstance(field.validation_alias, str) else name
