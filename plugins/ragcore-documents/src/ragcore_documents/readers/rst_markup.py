"""Let docutils read what is written for Sphinx: directives and roles that it does not know."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles

__all__ = ["sphinx_markup"]

_lock = threading.Lock()

# They open files, have no text of their own, or another text each day.
_LEFT_OUT: Final = re.compile(
    r"auto\w+|bibliography|codeauthor|contents|currentmodule|date|default-domain|graphviz|digraph"
    r"|graph|highlight|include|index|inheritance-diagram|literalinclude|mermaid|module|plot|raw"
    r"|sectionauthor|sectnum|section-numbering|tabularcolumns|testcleanup|testsetup|toctree"
    r"|todolist|uml"
)
# Sphinx gives them options that docutils refuses.
_CODE: Final = frozenset(
    ("code", "code-block", "code-cell", "console", "doctest", "highlight-code", "ipython", "jinja",
     "math", "parsed-literal", "productionlist", "prompt", "pyodide", "sourcecode", "testcode",
     "testoutput")
)  # fmt: skip
_CHANGES: Final = {
    "deprecated": "Deprecated since version",
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated-removed": "Deprecated since version",
    "versionremoved": "Removed in version",
}
_SIGNATURES: Final = frozenset(
    ("attribute", "class", "classmethod", "cmdoption", "data", "decorator", "describe", "envvar",
     "exception", "function", "method", "object", "option", "program", "property", "staticmethod")
)  # fmt: skip
# Their arguments are conditions or settings, and no text.
_SETTINGS: Final = frozenset(
    ("card-carousel", "grid", "ifconfig", "only", "tab-set", "tab-set-code", "tabs",
     "toggle")
)  # fmt: skip
# Their arguments are titles, be they a single word.
_TITLES: Final = frozenset(
    ("card", "collapse", "details", "dropdown", "grid-item-card", "group-tab", "tab", "tab-item",
     "todo")
)  # fmt: skip
_OPTION: Final = re.compile(r":[A-Za-z][\w-]*:(?:\s|$)")
_NAME: Final = re.compile(r"[a-z0-9_.:/-]+")
_TITLED: Final = re.compile(r"(.*[^\s<])\s*<[^<>]*>", re.DOTALL)


@contextmanager
def sphinx_markup() -> Iterator[None]:
    """Let docutils know all directives and roles while the block runs.

    docutils looks both up by functions of its modules; they are replaced, as Sphinx does.
    """
    with _lock:
        directive: Any = directives.directive
        role: Any = roles.role
        registered = dict(roles._roles)
        registry = directives._directive_registry

        def any_directive(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
            plain = name.lower()
            if _LEFT_OUT.fullmatch(plain):
                return _Nothing, []
            if plain in _CODE:
                return _Code, []
            if plain in registry:
                result: tuple[Any, list[Any]] = directive(name, language, document)
                return result
            return _Other, []

        def any_role(name: str, language: Any, line: int, reporter: Any) -> tuple[Any, list[Any]]:
            function, messages = role(name, language, line, reporter)
            return (function, messages) if function is not None else (_reference, [])

        directives.directive, roles.role = any_directive, any_role
        try:
            yield
        finally:
            directives.directive, roles.role = directive, role
            # Roles that the text defines are not those of the next one.
            roles._roles.clear()
            roles._roles.update(registered)


def _reference(
    name: str,
    rawtext: str,
    text: str,
    lineno: int,
    inliner: Any,
    options: Any = None,
    content: Any = None,
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Return the text that Sphinx shows for such as :func:`~os.path.join` or :ref:`Title <x>`."""
    text = nodes.unescape(text)
    if (match := _TITLED.fullmatch(text)) is not None:
        text = match[1]
    elif text.startswith("~"):
        text = text[1:].rsplit(".", 1)[-1]
    return [nodes.inline(rawtext, text.removeprefix("!"))], []


class _Nothing(Directive):  # type: ignore[misc]
    """A directive without text."""

    has_content = True

    def run(self) -> Sequence[nodes.Node]:
        return []


class _Block(Directive):  # type: ignore[misc]
    """A directive whose argument, options and content are told apart without knowing it."""

    has_content = True

    def parts(self, signatures: bool) -> tuple[list[str], int]:
        """Return the argument's lines, and the number of the content's first line."""
        count = 0
        arguments: list[str] = []
        # What stands behind the two colons is the argument.
        if self.content and self.block_text.split("\n", 1)[0].rstrip()[-2:] != "::":
            arguments.append(self.content[0].strip())
            count = 1
        while count < len(self.content) and (line := self.content[count].strip()):
            if _OPTION.match(line):
                pass
            elif signatures and arguments:
                arguments.append(line)
            else:
                break
            count += 1
        return arguments, count


class _Code(_Block):
    """Code, whose options are those of Sphinx or of docutils."""

    def run(self) -> Sequence[nodes.Node]:
        arguments, start = self.parts(signatures=False)
        lines = list(self.content[start:])
        if self.name.lower() in ("math", "parsed-literal", "prompt", "productionlist"):
            lines = [*arguments, *lines]
        text = "\n".join(lines).strip("\n")
        return [nodes.literal_block(text, text)] if text else []


class _Other(_Block):
    """Any other directive: its argument is a paragraph, its content is parsed.

    A single word in lower case is a name or a setting rather than text.
    """

    def run(self) -> Sequence[nodes.Node]:
        name = self.name.lower()
        signatures = ":" in name or name in _SIGNATURES
        arguments, start = self.parts(signatures)
        container = nodes.container()
        if name in _CHANGES:
            arguments = [f"{_CHANGES[name]} {' '.join(arguments)}"]
        elif name == "seealso":
            arguments = [f"See also: {' '.join(arguments)}".rstrip()]
        elif name in _SETTINGS or (
            not signatures
            and name not in _TITLES
            and len(arguments) == 1
            and _NAME.fullmatch(arguments[0])
        ):
            arguments = []
        for line, argument in enumerate(arguments, self.lineno):
            if signatures:
                paragraph = nodes.paragraph(argument, argument)
            else:
                children, _ = self.state.inline_text(argument, self.lineno)
                paragraph = nodes.paragraph(argument, "", *children)
            paragraph.line = line
            container += paragraph
        self.state.nested_parse(self.content[start:], self.content_offset + start, container)
        return [container]
