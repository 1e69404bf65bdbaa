"""The base of all suites: which methods are laws, how one is waived, how a component is built.

A law is a method `test_…` defined in this package; its docstring says how to fix what it catches.
It takes the fixture `component`, and `tmp_path` if it needs a folder, and raises
`unittest.SkipTest` where it does not apply, so that it runs with pytest and without. Knows nothing
of any kind of component.
"""

from __future__ import annotations

import functools
import inspect
import unittest
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, cast

from ragcore.errors import RagcoreError, UnsupportedOperation, nearest
from ragcore.registry.components import ComponentSpec
from ragcore.registry.conformance import capability_faults

__all__ = ["Suite", "SuiteError"]

Law = Callable[..., None]

_HOME: Final = __name__.rpartition(".")[0]


class SuiteError(RagcoreError):
    """Raised for a wrong use of a suite: a law overridden without a reason, or no component."""


class Suite:
    """The laws of one kind of component.

    Subclass a kind's suite and define the fixture `component`. It returns a `ComponentSpec`, or a
    class whose `Config` needs no setting. Encoders, scorers and generators, which are expensive to
    build, are reused while the fixture returns an equal spec.

    Attributes:
        waived: {name of a law: why it cannot hold}. The law is then skipped with that reason. A law
            that is overridden must be listed here, too.

    Raises:
        SuiteError: a subclass overrides a law without a reason, or waives what is not a law.
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
                raise SuiteError(
                    f"{cls.__name__} waives {name!r}, which is not one of its laws{hint}"
                )
            if not isinstance(reason, str) or not reason.strip():
                raise SuiteError(f"{cls.__name__} waives {name!r} without a reason: write one")
        for name, law in laws.items():
            defined = inspect.getattr_static(cls, name, None)
            if defined is law and name in cls.waived:
                setattr(cls, name, _waived(law, cls.waived[name]))
            elif defined is not law and name not in cls.waived:
                raise SuiteError(
                    f"{cls.__name__} overrides the law {name!r} without a reason: remove yours, "
                    f"or say why in waived = {{{name!r}: '…'}}"
                )

    @classmethod
    def laws(cls) -> dict[str, Law]:
        """Return the laws by name: those of the kind first, then those shared with other kinds."""
        homes = [base for base in cls.__mro__ if base.__module__.startswith(f"{_HOME}.")]
        return {
            name: law
            for base in homes
            for name, law in vars(base).items()
            if name.startswith("test_")
        }

    @classmethod
    def spec(cls, component: Any) -> ComponentSpec[Any]:
        """Return what the fixture returned as a `ComponentSpec`.

        Raises:
            SuiteError: it is neither a spec of this kind nor a class.
        """
        if isinstance(component, type):
            # A class given by the fixture has a Config, which `type` does not declare.
            config = cast("Any", component).Config()
            return ComponentSpec(cls.kind, component.__name__, component, config)
        if isinstance(component, ComponentSpec) and component.kind == cls.kind:
            return component
        raise SuiteError(
            f"{cls.__name__}: the fixture 'component' returned {component!r}: expected a class, or "
            f"a ComponentSpec({cls.kind!r}, …)"
        )

    @staticmethod
    def needs(subject: Any, capability: str) -> None:
        """Skip the law unless a component declares a capability."""
        if capability not in subject.capabilities:
            raise unittest.SkipTest(f"it does not declare {capability!r}")

    @staticmethod
    def lacks(subject: Any, capability: str) -> None:
        """Skip the law if a component declares a capability."""
        if capability in subject.capabilities:
            raise unittest.SkipTest(f"it declares {capability!r}")

    def must_refuse(self, component: Any, what: str, call: Callable[[], object]) -> None:
        """Check that an undeclared operation raises `UnsupportedOperation` with its component."""
        try:
            call()
        except UnsupportedOperation as error:
            message = str(error)
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}): expected UnsupportedOperation"
            ) from error
        else:
            raise AssertionError(f"{what} was carried out or ignored, though it is not declared")
        assert any(name.lower() in message.lower() for name in _names(self.spec(component))), (
            f"{what} raised UnsupportedOperation without the component's name: {message}"
        )

    @staticmethod
    def must_fail(what: str, call: Callable[[], object]) -> None:
        """Check that a wrong call raises a `RagcoreError`."""
        try:
            call()
        except RagcoreError:
            return
        except Exception as error:
            raise AssertionError(
                f"{what} raised {type(error).__name__} ({error}): expected a RagcoreError, such as "
                "ComponentError, which says what was found and what to do"
            ) from error
        raise AssertionError(f"{what} was not refused")

    def declares_what_is_known(self, subject: Any) -> None:
        """Check that `capabilities` is a frozenset of strings, and none is misspelt."""
        capabilities = subject.capabilities
        assert isinstance(capabilities, frozenset), (
            f"capabilities is {type(capabilities).__name__}, not a frozenset"
        )
        fault = next(capability_faults(capabilities), None)
        assert fault is None, fault


class SharedSuite(Suite):
    """A suite whose laws share one component, which is expensive to build and stateless."""

    _shared: ClassVar[tuple[ComponentSpec[Any], Any] | None] = None

    @classmethod
    def build(cls, component: Any) -> Any:
        """Build the component, or return the last one built if the specs are equal."""
        spec = cls.spec(component)
        # Stored on SharedSuite for all suites, so that no more than one component is in memory.
        if SharedSuite._shared is None or SharedSuite._shared[0] != spec:
            SharedSuite._shared = (spec, spec.build())
        return SharedSuite._shared[1]


def _waived(law: Law, reason: str) -> Law:
    @functools.wraps(law)
    def skip(self: Suite, *_: object, **__: object) -> None:
        raise unittest.SkipTest(f"waived: {reason}")

    # pytest would otherwise make fixtures for a law that does not run.
    skip.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return skip


def _names(spec: ComponentSpec[Any]) -> Iterator[str]:
    """Yield the names under which a user knows a component or one inside it."""
    yield spec.component.__name__
    yield spec.use
    yield from _uses(spec.to_dict())


def _uses(settings: Any) -> Iterator[str]:
    """Yield the value of each key `use` in nested settings."""
    if isinstance(settings, Mapping):
        if isinstance(settings.get("use"), str):
            yield settings["use"]
        for inner in settings.values():
            yield from _uses(inner)
    elif isinstance(settings, list):
        for inner in settings:
            yield from _uses(inner)
