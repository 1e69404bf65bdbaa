"""Helpers for laws of fingerprints, for retrievers and encoders alike."""

from __future__ import annotations

import unittest
from collections.abc import Mapping, Sequence
from typing import Any

from ragcore.registry.components import ComponentSpec

__all__ = ["changed", "fingerprints_differ", "say_something"]


def say_something(fingerprint: object) -> None:
    """Check that a fingerprint is a text that is not empty."""
    assert isinstance(fingerprint, str), f"the fingerprint is {type(fingerprint).__name__}"
    assert fingerprint.strip(), "the fingerprint is empty"


def changed(spec: ComponentSpec[Any], settings: Mapping[str, Any]) -> ComponentSpec[Any]:
    """Return a spec with some of its settings changed."""
    current = {name: getattr(spec.config, name) for name in spec.config.model_fields_set}
    config = type(spec.config)(**{**current, **settings})
    return ComponentSpec(spec.kind, spec.use, spec.component, config, spec.secrets)


def fingerprints_differ(spec: ComponentSpec[Any], variants: Sequence[Mapping[str, Any]]) -> None:
    """Check that a component and its variants all have different fingerprints."""
    if not variants:
        raise unittest.SkipTest("the suite names no `variants`")
    known = {spec.build().fingerprint: "the component itself"}
    for settings in variants:
        fingerprint = changed(spec, settings).build().fingerprint
        assert fingerprint not in known, (
            f"with {dict(settings)} the fingerprint is that of {known[fingerprint]}: {fingerprint}"
        )
        known[fingerprint] = f"the variant {dict(settings)}"
