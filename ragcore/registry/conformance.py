"""Check that a component has the members of its contract, before it is used.

A plugin's class need not inherit from a contract, so nothing else would notice that a method is
missing until it is called. Knows members and how they are called; the laws of a contract suite
(`ragcore.testing`) test what they do.
"""

from __future__ import annotations

import dis
import inspect
import types
import weakref
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final, get_args

from ragcore.contracts import (
    TIER_CONTRACTS,
    Corpus,
    Encoder,
    Generator,
    Index,
    RemoteData,
    Retriever,
    Scorer,
    ScratchUser,
    TextGenerator,
    tier_of,
)
from ragcore.contracts.component import Capability
from ragcore.contracts.extensions import EXTENSIONS
from ragcore.errors import PluginError, nearest

__all__ = [
    "KINDS",
    "article",
    "capability_faults",
    "check_class",
    "check_instance",
    "check_loaded",
    "contract_of",
    "members_of",
    "see",
]

KINDS: Final[Mapping[Any, str]] = {
    Corpus: "corpus",
    Encoder: "encoder",
    Index: "index",
    Retriever: "retriever",
    Scorer: "scorer",
    Generator: "generator",
}
"""Contracts that a config can name a component of, and the kind of each."""

_CAPABILITIES: Final = sorted(get_args(Capability))
_MISSING: Final = object()
_UNKNOWN: Final = object()
"""Stands for a member that the class does not define, and that its code may set on an instance."""

_CHECKED: Final[weakref.WeakKeyDictionary[type[Any], set[tuple[str, Any]]]] = (
    weakref.WeakKeyDictionary()
)
"""Classes in which no fault was found, and the kinds and contracts for which they were checked."""


def check_class(kind: str, name: str, component: Any, contract: Any = None) -> None:
    """Check what can be seen of a component without building it.

    A member that code of the class may set on an instance is left to `check_instance`.

    Args:
        kind: kind of component, such as "retriever".
        name: under which it is registered, for errors.
        component: what is registered.
        contract: the protocol that it must follow; that of its kind, and of a generator's tier,
            where None.

    Raises:
        PluginError: it is no class, or a member is missing or cannot be called as the contract
            says; the message lists all such members.
    """
    contract = contract or _contract_of_class(kind, component)
    if not isinstance(component, type):
        raise PluginError(
            f"{kind} {name!r}: found {_described(component)}, expected a class that follows the "
            f"contract of {article(kind)}: {see(contract)}"
        )
    if (kind, contract) in _CHECKED.get(component, ()):
        return
    declared = _static(component, "capabilities")
    faults = [
        *_constructor_faults(component, kind),
        *_faults(component, members_of(contract), instance=False),
        *(f"no {name}" for name in _abstract(component)),
        *(capability_faults(declared) if _is_final(component, declared) else ()),
        *_extension_faults(component, contract, declared, instance=False),
    ]
    _refuse(faults, kind, name, component, contract)
    _CHECKED.setdefault(component, set()).add((kind, contract))


def check_instance(kind: str, name: str, component: Any, contract: Any = None) -> None:
    """Check that a component that was built or loaded has all members of its contract.

    Its properties are not called, except `capabilities`.

    Raises:
        PluginError: a member is missing or wrong, also one that a declared capability promises.
    """
    if contract is None:
        contract = TIER_CONTRACTS[tier_of(component)] if kind == "generator" else contract_of(kind)
    faults = list(_faults(component, members_of(contract), instance=True))
    if _static(component, "capabilities") is not _MISSING:
        declared = component.capabilities
        faults += capability_faults(declared)
        faults += _extension_faults(component, contract, declared, instance=True)
    _refuse(faults, kind, name, type(component), contract)


def check_loaded(kind: str, name: str, component: Any, cls: type[Any]) -> None:
    """Check what a class's `load` returned, as `check_instance` does.

    Raises:
        PluginError: it is no such component, or a member is missing or wrong.
    """
    try:
        check_instance(kind, name, component)
    except PluginError:
        if isinstance(component, cls):
            raise
        contract = contract_of(kind)
        raise PluginError(
            f"{kind} {name!r}: its load() returned {_described(component)}, expected "
            f"{article(cls.__name__)}, as built by {_where(cls)}: {see(contract)}"
        ) from None


def capability_faults(declared: object) -> Iterator[str]:
    """Yield what is wrong with the capabilities that a component declares.

    A name that ragcore does not know is allowed, unless it is close to one that it knows.
    """
    if not isinstance(declared, Set):
        yield f"its capabilities are {_described(declared)}, expected a frozenset of names"
        return
    for name in sorted(declared, key=str):
        if not isinstance(name, str):
            yield f"capability {name!r} is not a string"
            continue
        close = None if name in _CAPABILITIES else nearest(name, _CAPABILITIES)
        if close is not None:
            yield f"capability {name!r} is unknown: did you mean {close!r}?"


def contract_of(kind: str) -> Any:
    """Return the protocol of a kind of component that a config can name."""
    return next(contract for contract, known in KINDS.items() if known == kind)


def _contract_of_class(kind: str, component: Any) -> Any:
    """Return the protocol that a class must follow, as far as it can be seen.

    Of a generator whose instances have their tiers, all that is certain is that of the least.
    """
    contract = contract_of(kind)
    if kind != "generator" or not isinstance(component, type):
        return contract
    declared = _static(component, "tier")
    if declared is _MISSING:
        sets = _may_set(component, "tier") and not hasattr(component, "step")
        return TextGenerator if sets else contract
    if isinstance(declared, str):
        return TIER_CONTRACTS[tier_of(component)]
    return TextGenerator


def _refuse(faults: list[str], kind: str, name: str, component: type[Any], contract: Any) -> None:
    if not faults:
        return
    absent = [fault.removeprefix("no ") for fault in faults if fault.startswith("no ")]
    others = [fault for fault in faults if not fault.startswith("no ")]
    listed = [*([f"it has no {', '.join(absent)}"] if absent else []), *others]
    raise PluginError(
        f"{kind} {name!r} is {_where(component)}, which does not follow the contract of "
        f"{article(kind)}: {'; '.join(listed)}: {see(contract)}"
    )


def _faults(component: Any, members: Mapping[str, Any], *, instance: bool) -> Iterator[str]:
    """Yield what is wrong with the members of a protocol: "no NAME", or a clause."""
    for name, member in members.items():
        value = _static(component, name)
        if value is _MISSING and not instance and not name.startswith("__"):
            on_class = name == "Config" or isinstance(member, classmethod)
            value = _MISSING if on_class or not _may_set(component, name) else _UNKNOWN
        if value is _MISSING:
            yield f"no {name}"
        elif value is not _UNKNOWN:
            fault = _fault(name, value, member, bound=not _on_class(component, name, value))
            if fault is not None:
                yield fault


def _fault(name: str, value: Any, member: Any, *, bound: bool) -> str | None:
    """Say what is wrong with a member that exists, or return None.

    Args:
        name: of the member.
        value: what the component has under that name.
        member: what the contract has.
        bound: the value is called as it is, without `self`.
    """
    method = isinstance(member, types.FunctionType | classmethod)
    if not method:
        if isinstance(value, types.FunctionType | types.MethodType):
            return f"its {name} is a method, expected an attribute: write @property above it"
        return None
    if isinstance(member, classmethod) and isinstance(value, types.FunctionType):
        return f"its {name} is no class method: write @classmethod above it"
    if not callable(value) and not hasattr(type(value), "__get__"):
        return f"its {name} is {_described(value)}, expected a method"
    expected = inspect.signature(member.__func__ if isinstance(member, classmethod) else member)
    if not _accepts(value, expected, bound=bound):
        parameters = ", ".join(_spelt(list(expected.parameters.values())[1:]))
        return f"its {name} cannot be called as {name}({parameters})"
    return None


def _accepts(value: Any, expected: inspect.Signature, *, bound: bool) -> bool:
    """Return whether a function can be called as a contract's is; True where none can tell."""
    skip = 1
    if isinstance(value, types.FunctionType):
        skip = 1 if bound else 0
    elif isinstance(value, classmethod):
        value, skip = value.__func__, 0
    elif isinstance(value, staticmethod):
        value = value.__func__
    elif not isinstance(value, types.MethodType):
        return True
    parameters = list(expected.parameters.values())[skip:]
    by_name = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(value).bind(*[None] * (len(parameters) - len(by_name)), **by_name)
    except TypeError:
        return False
    except ValueError:
        # A function of C that does not tell its parameters.
        return True
    return True


def _spelt(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Yield the names of parameters, those that are passed by name as NAME=…."""
    for parameter in parameters:
        by_name = parameter.kind is parameter.KEYWORD_ONLY
        yield f"{parameter.name}=…" if by_name else parameter.name


def _constructor_faults(component: type[Any], kind: str) -> Iterator[str]:
    by_name = {"dim": None} if kind == "index" else {}
    try:
        inspect.signature(component).bind(None, **by_name)
    except TypeError:
        call = f"{component.__name__}({', '.join(['config', *(f'{key}=d' for key in by_name)])})"
        yield f"it cannot be constructed as {call}"
    except ValueError:
        return


def _extension_faults(
    component: Any, contract: Any, declared: Any, *, instance: bool
) -> Iterator[str]:
    """Yield what is missing of the members that the declared capabilities promise."""
    if not isinstance(declared, Set):
        return
    for extension, capability in EXTENSIONS.items():
        extends = contract in extension.__mro__
        extends |= extension is ScratchUser and contract in (Retriever, Index)
        extends |= extension is RemoteData and contract is Index
        if not extends or capability not in declared:
            continue
        own = members_of(contract)
        promised = {key: value for key, value in members_of(extension).items() if key not in own}
        for fault in _faults(component, promised, instance=instance):
            yield f"{fault} (promised by its capability {capability!r})"


def _abstract(component: type[Any]) -> list[str]:
    """List the methods that a base class leaves to its subclasses, and this class lacks."""
    members = {name: inspect.getattr_static(component, name, None) for name in dir(component)}
    return [
        name
        for name, value in members.items()
        if getattr(value, "__isabstractmethod__", False) and not _is_stub(component, name)
    ]


def members_of(contract: Any) -> dict[str, Any]:
    """Return the members of a protocol by name, those that it inherits first."""
    members: dict[str, Any] = {}
    for base in reversed(contract.__mro__):
        if not getattr(base, "_is_protocol", False):
            continue
        members |= dict.fromkeys(vars(base).get("__annotations__", {}))
        members |= {
            name: value
            for name, value in vars(base).items()
            if isinstance(value, types.FunctionType | property | classmethod)
            and (not name.startswith("_") or name in ("__len__", "__iter__"))
        }
    return members


def _static(component: Any, name: str) -> Any:
    """Look a member up without calling a property; `_MISSING` where there is none."""
    value = inspect.getattr_static(component, name, _MISSING)
    owner = component if isinstance(component, type) else type(component)
    if value is _MISSING:
        # Some delegate to an inner object, by __getattr__.
        return getattr(component, name, _MISSING)
    inherited = inspect.getattr_static(owner, name, _MISSING)
    return _MISSING if value is inherited and _is_stub(owner, name) else value


def _on_class(component: Any, name: str, value: Any) -> bool:
    """Return whether a member is the class's own, and so is called with `self`.

    A function that a constructor sets on its instance is called without.
    """
    if isinstance(component, type):
        return True
    inherited = inspect.getattr_static(type(component), name, _MISSING)
    return value is inherited and name not in getattr(component, "__dict__", {})


def _is_stub(component: type[Any], name: str) -> bool:
    """Return whether a class has a member from a protocol that it inherits, which does nothing."""
    owner = next((base for base in component.__mro__ if name in vars(base)), component)
    return bool(vars(owner).get("_is_protocol", False))


def _may_set(component: type[Any], name: str) -> bool:
    """Return whether instances may have a member that the class does not define."""
    for base in component.__mro__[:-1]:
        if name in vars(base).get("__annotations__", {}) or "__getattr__" in vars(base):
            return True
    codes = _codes(component)
    return any(name in code.co_names or name in code.co_consts for code in codes)


def _is_final(component: type[Any], declared: Any) -> bool:
    """Return whether what a class has as `capabilities` is what its instances will have.

    It is not where a property computes them, or a method sets them.
    """
    if declared is _MISSING or hasattr(type(declared), "__get__"):
        return False
    return not any(
        "capabilities" in code.co_consts
        or any(
            step.opname == "STORE_ATTR" and step.argval == "capabilities"
            for step in dis.get_instructions(code)
        )
        for code in _codes(component)
    )


def _codes(component: type[Any]) -> Iterator[types.CodeType]:
    """Yield the code of each method of a class, also of those that it inherits."""
    for base in component.__mro__[:-1]:
        for value in vars(base).values():
            function = getattr(value, "__func__", getattr(value, "fget", value))
            code = getattr(function, "__code__", None)
            if isinstance(code, types.CodeType):
                yield code


def _described(value: Any) -> str:
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return f"the function {value.__name__}"
    if isinstance(value, types.ModuleType):
        return f"the module {value.__name__}"
    return "None" if value is None else f"{article(type(value).__name__)} object"


def _where(component: type[Any]) -> str:
    """Return a class's name, and the file that defines it."""
    try:
        file: str | None = inspect.getsourcefile(component)
    except TypeError:
        file = None
    home = file or f"module {component.__module__}"
    return f"the class {component.__qualname__} in {home}"


def article(noun: str) -> str:
    """Put the indefinite article before a noun."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def see(contract: Any) -> str:
    """Say where a contract is documented."""
    home = contract.__module__
    if home.startswith("ragcore.contracts."):
        home = "ragcore.contracts"
    return f"see {home}.{contract.__name__}, or {contract.__name__} in docs/reference/contracts.md"
