"""What all suites share: which methods are laws, how one is waived, how a component is made.

A law is a method `test_…` that is written in this package; its docstring says how to mend what it
catches. It takes the fixture `component`, and `tmp_path` if it needs a folder, and raises
`unittest.SkipTest` where it does not apply, so that it runs with pytest and without. Knows nothing
of any kind of component.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

from ragcore.errors import RagcoreError, UnsupportedOperation, nearest
from ragcore.registry.components import ComponentSpec

__all__ = ["Suite", "SuiteError"]

Law = Callable[..., None]

CAPABILITIES: Final = [
    "add",
    "exact",
    "filter",
    "mmap",
    "passages",
    "remove",
    "scratch",
    "spawn_empty",
    "trainable",
    "uncased",
    "vectors",
    "words",
]
_HOME: Final = __name__.rpartition(".")[0]


class SuiteError(RagcoreError):
    """A suite is used wrongly: a law is overridden without a reason, or given no component."""


class Suite:
    """The laws of one kind of component; subclass a kind's suite and give the fixture `component`.

    `component` gives a `ComponentSpec`, or a class whose `Config` needs no setting. Encoders,
    scorers and generators, which are heavy to make, are made once while the fixture gives an equal
    spec.

    Attributes:
        waived: {name of a law: why it cannot hold}. It is then skipped with that reason. A law
            that is overridden must stand here, too.

    Raises:
        SuiteError: when a subclass overrides a law without a reason, or waives what is no law.
    """

    kind: ClassVar[str]
    waived: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith(f"{_HOME}."):
            return
        laws = cls.laws()
        for name, reason in cls.waived.items():
            if name not in laws:
                close = nearest(name, list(laws))
                hint = f": did you mean {close!r}?" if close else ""
                raise SuiteError(f"{cls.__name__} waives {name!r}, which is no law of it{hint}")
            if not isinstance(reason, str) or not reason.strip():
                raise SuiteError(f"{cls.__name__} waives {name!r} without a reason: write one")
        for name, law in laws.items():
            own = inspect.getattr_static(cls, name, None)
            if own is law and name in cls.waived:
                setattr(cls, name, _waived(law, cls.waived[name]))
            elif own is not law and name not in cls.waived:
                raise SuiteError(
                    f"{cls.__name__} overrides the law {name!r} without a reason: remove yours, "
                    f"or say why in waived = {{{name!r}: '…'}}"
                )

    @classmethod
    def laws(cls) -> dict[str, Law]:
        """The laws by name: those of the kind first, then those that it shares with others."""
        homes = [base for base in cls.__mro__ if base.__module__.startswith(f"{_HOME}.")]
        return {
            name: law
            for base in homes
            for name, law in vars(base).items()
            if name.startswith("test_")
        }

    @classmethod
    def part(cls, component: Any) -> ComponentSpec[Any]:
        """What the fixture gave, as a `ComponentSpec`.

        Raises:
            SuiteError: it is neither a part of this kind nor a class.
        """
        if isinstance(component, type):
            made: Any = component
            return ComponentSpec(cls.kind, component.__name__, component, made.Config())
        if isinstance(component, ComponentSpec) and component.kind == cls.kind:
            return component
        raise SuiteError(
            f"{cls.__name__}: the fixture 'component' gave {component!r}: expected a class, or a "
            f"ComponentSpec({cls.kind!r}, …)"
        )

    @staticmethod
    def needs(made: Any, capability: str) -> None:
        """Go on only if a component declares a capability."""
        if capability not in made.capabilities:
            raise unittest.SkipTest(f"it does not declare {capability!r}")

    @staticmethod
    def lacks(made: Any, capability: str) -> None:
        """Go on only if a component does not declare a capability."""
        if capability in made.capabilities:
            raise unittest.SkipTest(f"it declares {capability!r}")

    def must_refuse(self, component: Any, what: str, call: Callable[[], object]) -> None:
        """A call of what is not declared raises `UnsupportedOperation` with the part's name."""
        try:
            call()
        except UnsupportedOperation as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}): expected UnsupportedOperation"
            ) from error
        else:
            raise AssertionError(f"{what} was done, or ignored, though it is not declared")
        assert any(name.lower() in said.lower() for name in _names(self.part(component))), (
            f"{what} raised UnsupportedOperation without the component's name: {said}"
        )

    @staticmethod
    def must_fail(what: str, call: Callable[[], object]) -> None:
        """A wrong call raises a `RagcoreError`."""
        try:
            call()
        except RagcoreError:
            return
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}): expected a RagcoreError, such as "
                "ComponentError, that says what was found and what to do"
            ) from error
        raise AssertionError(f"{what} was not refused")

    def declares_what_is_known(self, made: Any) -> None:
        """`capabilities` is a frozenset of strings, none of them a known one misspelt."""
        found = made.capabilities
        assert isinstance(found, frozenset), f"capabilities is {type(found).__name__}"
        for name in found:
            assert isinstance(name, str), f"capability {name!r} is no string"
            close = None if name in CAPABILITIES else nearest(name, CAPABILITIES)
            assert close is None, f"capability {name!r} is unknown: did you mean {close!r}?"


class SharedSuite(Suite):
    """A suite whose laws share one component, as it is heavy to make and keeps no state."""

    _held: ClassVar[tuple[ComponentSpec[Any], Any] | None] = None

    @classmethod
    def made(cls, component: Any) -> Any:
        """The component: that of the law before, if the fixture gave an equal part."""
        part = cls.part(component)
        # One place for all suites, so that no more than one heavy component is held.
        if SharedSuite._held is None or SharedSuite._held[0] != part:
            SharedSuite._held = (part, part.build())
        return SharedSuite._held[1]


def _waived(law: Law, reason: str) -> Law:
    @functools.wraps(law)
    def skip(self: Suite, *_: object, **__: object) -> None:
        raise unittest.SkipTest(f"waived: {reason}")

    # pytest would otherwise make fixtures for a law that does not run.
    skip.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return skip


def _names(part: ComponentSpec[Any]) -> Iterator[str]:
    """The names under which a user knows a part or one inside it."""
    yield part.component.__name__
    yield part.use
    yield from _uses(part.to_dict())


def _uses(said: Any) -> Iterator[str]:
    if isinstance(said, Mapping):
        if isinstance(said.get("use"), str):
            yield said["use"]
        for inner in said.values():
            yield from _uses(inner)
    elif isinstance(said, list):
        for inner in said:
            yield from _uses(inner)
