"""What fingerprints must say, for retrievers and encoders alike."""

from __future__ import annotations

import unittest
from collections.abc import Mapping, Sequence
from typing import Any

from ragcore.registry.components import ComponentSpec

__all__ = ["changed", "fingerprints_differ", "say_something"]


def say_something(fingerprint: object) -> None:
    """A fingerprint is a text that is not empty."""
    assert isinstance(fingerprint, str), f"the fingerprint is {type(fingerprint).__name__}"
    assert fingerprint.strip(), "the fingerprint is empty"


def changed(part: ComponentSpec[Any], settings: Mapping[str, Any]) -> ComponentSpec[Any]:
    """A part with some of its settings changed."""
    held = {name: getattr(part.config, name) for name in part.config.model_fields_set}
    config = type(part.config)(**{**held, **settings})
    return ComponentSpec(part.kind, part.use, part.component, config, part.secrets)


def fingerprints_differ(part: ComponentSpec[Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """The part and its variants have fingerprints of their own."""
    if not variants:
        raise unittest.SkipTest("the suite names no `variants`")
    known = {part.build().fingerprint: "the component itself"}
    for settings in variants:
        fingerprint = changed(part, settings).build().fingerprint
        assert fingerprint not in known, (
            f"with {dict(settings)} the fingerprint is that of {known[fingerprint]}: {fingerprint}"
        )
        known[fingerprint] = f"the variant {dict(settings)}"
