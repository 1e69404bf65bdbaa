"""Compare a class with its contract by its source alone, where importing it would be slow.

`ragcore check` imports no class behind a `Target`. Whatever the source does not tell, such as the
members of a base class from elsewhere, is left to the check of the class when it is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ragcore.contracts import TextGenerator
from ragcore.errors import PluginError, nearest
from ragcore.registry.conformance import (
    article,
    capability_faults,
    contract_of,
    members_of,
    see,
)

__all__ = ["check_source"]

_TRANSPARENT: Final = frozenset({"Generic", "Protocol", "object"})
"""Bases without members of a contract, by name."""


def check_source(kind: str, name: str, target: str) -> None:
    """Check the class that a hook names, without importing its module.

    Args:
        kind: kind of component, such as "generator".
        name: under which it is registered, for errors.
        target: "package.module:Class".

    Raises:
        PluginError: there is no such module, no such name in it, or the name is a function or a
            class that lacks members of its contract.
    """
    module, _, attribute = target.partition(":")
    file = _source_file(kind, name, module, target)
    if file is None or "." in attribute:
        return
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise PluginError(
            f"{kind} {name!r} cannot be loaded from {target!r}: {type(error).__name__}: {error}"
        ) from error
    bound = dict(_bound(tree.body))
    if attribute not in bound:
        if "*" in bound or "__getattr__" in bound:
            return
        close = nearest(attribute, list(bound))
        hint = f": did you mean {close!r}?" if close else ""
        raise PluginError(f"{kind} {name!r}: {file} has no {attribute!r} at its top level{hint}")
    definition = bound[attribute]
    if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        raise PluginError(
            f"{kind} {name!r}: found the function {attribute} in {file}, expected a class that "
            f"follows the contract of {article(kind)}: {see(contract_of(kind))}"
        )
    names = _names(attribute, bound, set())
    # Which tier a generator's class is of shows when it is imported; all but one are of texts.
    texts = kind == "generator" and names is not None and "tier" in names
    contract = TextGenerator if texts else contract_of(kind)
    missing = [] if names is None else [m for m in members_of(contract) if m not in names]
    faults = [f"it has no {', '.join(missing)}"] if missing else []
    faults += capability_faults(_capabilities(attribute, bound, set()))
    if faults:
        raise PluginError(
            f"{kind} {name!r} is the class {attribute} in {file}, which does not follow the "
            f"contract of {article(kind)}: {'; '.join(faults)}: {see(contract)}"
        )


def _source_file(kind: str, name: str, module: str, target: str) -> Path | None:
    """Find a module's source; None where it has none, or finding it would import a package.

    Raises:
        PluginError: there is no such module.
    """
    package = module.rpartition(".")[0]
    if package and package not in sys.modules:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:
        # A module that was put in place by hand.
        return None
    except ModuleNotFoundError:
        # Its parent is a module, not a package.
        spec = None
    if spec is None:
        raise PluginError(f"{kind} {name!r}: there is no module {module!r} (from {target!r})")
    origin = spec.origin or ""
    return Path(origin) if origin.endswith(".py") else None


def _bound(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that statements bind in their own scope, each with what binds it last."""
    for statement in body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name, statement
            case ast.AsyncFunctionDef(name=name):
                yield name, statement
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    yield alias.asname or alias.name.partition(".")[0], statement
            case _:
                for node in ast.iter_child_nodes(statement):
                    if isinstance(node, ast.stmt):
                        yield from _bound([node])
                    elif isinstance(node, ast.ExceptHandler):
                        yield from _bound(node.body)
                    else:
                        stores = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))
                        for inner in stores:
                            if isinstance(inner.ctx, ast.Store):
                                yield inner.id, statement


def _names(name: str, bound: dict[str, ast.stmt], seen: set[str]) -> set[str] | None:
    """Return the members that a class of the module may have; None where its source cannot tell."""
    if name in seen:
        return None
    seen.add(name)
    definition = bound.get(name)
    if not isinstance(definition, ast.ClassDef) or definition.keywords or definition.decorator_list:
        return None
    names: set[str] = set()
    for base in definition.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if not isinstance(base, ast.Name):
            return None
        if base.id in _TRANSPARENT and base.id not in seen:
            continue
        inherited = _names(base.id, bound, seen)
        if inherited is None:
            return None
        names |= inherited
    for node in ast.walk(definition):
        match node:
            case ast.FunctionDef(name=member) | ast.ClassDef(name=member):
                names.add(member)
            case ast.Name(id=member) | ast.Attribute(attr=member):
                names.add(member)
            case ast.alias(name=member, asname=other):
                names.add(other or member)
            case ast.Constant(value=str(member)):
                names.add(member)
    return None if names & {"__getattr__", "exec", "__dict__"} else names


def _capabilities(name: str, bound: dict[str, ast.stmt], seen: set[str]) -> object:
    """Return the capabilities that a class of the module declares; none where none can be told."""
    definition = bound.get(name)
    if name in seen or not isinstance(definition, ast.ClassDef):
        return frozenset()
    if definition.keywords or definition.decorator_list:
        return frozenset()
    seen.add(name)
    for node in ast.walk(definition):
        # A method may set them on an instance.
        match node:
            case ast.Attribute(attr="capabilities", ctx=ast.Store()):
                return frozenset()
            case ast.Constant(value="capabilities"):
                return frozenset()
    for statement in reversed(definition.body):
        match statement:
            case ast.Assign(targets=[ast.Name(id="capabilities")], value=value):
                return _literal(value)
            case ast.AnnAssign(target=ast.Name(id="capabilities"), value=ast.expr() as value):
                return _literal(value)
    # The first base that has them wins, which need not be in this module.
    match definition.bases:
        case [ast.Name(id=base), *_]:
            return _capabilities(base, bound, seen)
    return frozenset()


def _literal(value: ast.expr) -> object:
    """Return the value of an expression such as `frozenset({"add"})`; an empty set for others."""
    make: type[Any] | None = None
    match value:
        case ast.Call(func=ast.Name(id="frozenset" | "set"), args=[argument], keywords=[]):
            make, value = frozenset, argument
    try:
        literal = ast.literal_eval(value)
        return literal if make is None else make(literal)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return frozenset()
