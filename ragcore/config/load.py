"""Turn a file and its overrides into a checked config, or into one error that lists every fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ragcore.config.models import PipelineConfig, StoreConfig
from ragcore.config.overrides import apply_overrides
from ragcore.config.reader import ConfigReader, secrets_of
from ragcore.config.source import Entry, Mapping, Node, Scalar, Source, SourcePosition
from ragcore.disk.paths import usable_path
from ragcore.errors import ConfigError
from ragcore.registry.components import ComponentSpec, config_class
from ragcore.registry.conformance import article
from ragcore.registry.discovery import registry

__all__ = [
    "PipelineFile",
    "load_component",
    "load_config",
    "load_store_config",
    "parse_config",
    "read_file",
    "read_text",
]

FOLDER_FILE: Final = "pipeline.yaml"
"""The name of the pipeline file in a folder, where a folder stands for a pipeline."""

_STORE_KEYS: Final = StoreConfig.model_fields.keys()

_EMPTY: Final = "the file is empty: a pipeline begins with 'ragcore: 1' and has a section 'memory'"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineConfig:
    """Load the checked config of a pipeline file.

    Args:
        path: of a YAML file, or of a folder with a pipeline.yaml, as training leaves it; relative
            paths in it start from its folder.
        overrides: changes to it, as "rag.k=10" or "generator.use=t5"; the last one wins.

    Raises:
        ConfigError: it cannot be read, or has faults; the message lists all, by position.
    """
    return read_file(path, overrides)[1]


def load_store_config(path: str | Path) -> StoreConfig:
    """Return `memory.store` and `memory.version` of a pipeline file; its other keys are not read.

    For commands on versions, which work whatever the file says of generator and retriever.

    Raises:
        ConfigError: the file cannot be read, or one of the two keys is missing or wrong; the
            message lists every fault of the file, by position.
    """
    file = _file(usable_path(path, ConfigError))
    source = Source(read_text(file), str(file))
    tree = source.tree()
    section: Node | None = None
    match tree:
        case Mapping(entries={"ragcore": Entry(value=Scalar(value=1)), "memory": memory}):
            section = memory.value
    if isinstance(section, Mapping) and not source.faults:
        keys = {key: entry for key, entry in section.entries.items() if key in _STORE_KEYS}
        reader = ConfigReader(source, file.parent.absolute())
        config = reader.read(Mapping(section.position, keys), StoreConfig, "'memory'")
        if config is not None and not source.faults:
            return config
    # The whole file is read for the message; it cannot pass where its part has a fault.
    return load_config(path).memory


def parse_config(
    text: str, name: str = "<text>", base: str | Path = ".", overrides: Sequence[str] = ()
) -> PipelineConfig:
    """Load as `load_config`, from a text; `name` stands for the file's, `base` for its folder."""
    return _read(Source(text, name, overrides), Path(base))[1]


def load_component(kind: str, use: str, settings: Sequence[str] = ()) -> ComponentSpec[Any]:
    """Return the spec of a component with settings as overrides write them.

    Args:
        kind: kind of component, such as "retriever".
        use: the name under which it is registered.
        settings: of the component, as "k1=1.2" or "index.use=exact"; the last one wins. Relative
            paths in them start from the working folder.

    Raises:
        UnknownComponentError: no plugin provides the component.
        PluginError: it cannot be imported.
        ConfigError: settings have faults; the message lists all, by setting.
    """
    model = config_class(kind, use)
    source = Source("", "settings", settings, noun="setting")
    tree = Mapping(SourcePosition(0, 0, 0), {})
    apply_overrides(tree, source)
    config = ConfigReader(source, Path.cwd()).read(tree, model, f"{kind} {use!r}")
    if config is None or source.faults:
        raise ConfigError(source.show())
    return ComponentSpec(kind, registry().current_name(kind, use), None, config, secrets_of(tree))


def _file(path: Path) -> Path:
    """Return the pipeline file that a path names: of a folder, its pipeline.yaml."""
    inside = path / FOLDER_FILE
    return inside if path.is_dir() and inside.is_file() else path


def read_file(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Mapping, PipelineConfig]:
    """Load as `load_config`, and return the tree of the file with the overrides applied, too."""
    file = _file(usable_path(path, ConfigError))
    return _read(Source(read_text(file), str(file), overrides), file.parent)


class PipelineFile:
    """A pipeline file that is read once, and checked with several lists of overrides.

    Attributes:
        path: of the YAML file itself, also where its folder was named.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the file; `path` is as for `load_config`.

        Raises:
            ConfigError: it cannot be read.
        """
        self.path = _file(usable_path(path, ConfigError))
        self._text = read_text(self.path)

    def check(self, overrides: Sequence[str] = ()) -> tuple[PipelineConfig | None, Source]:
        """Return the config, and the source with its faults; None where there are any."""
        source = Source(self._text, str(self.path), overrides)
        config = _checked(source, self.path.parent)[1]
        return (None if source.faults else config), source


def _read(source: Source, base: Path) -> tuple[Mapping, PipelineConfig]:
    tree, config = _checked(source, base)
    if not isinstance(tree, Mapping) or config is None or source.faults:
        raise ConfigError(source.show())
    return tree, config


def _checked(source: Source, base: Path) -> tuple[Node | None, PipelineConfig | None]:
    """Return the tree with the overrides, and its config; the source gets the faults."""
    tree = source.tree()
    if tree is None:
        return None, None
    if isinstance(tree, Scalar) and tree.value is None:
        source.fault(tree.position, _EMPTY)
        return tree, None
    if isinstance(tree, Mapping):
        apply_overrides(tree, source)
    reader = ConfigReader(source, base.absolute())
    return tree, reader.read(tree, PipelineConfig, "the pipeline")


def read_text(path: Path, noun: str = "pipeline") -> str:
    """Read the text of a YAML file.

    Args:
        path: of the file.
        noun: what a message says that the file is of.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file: give the path of {article(noun)} file (from {Path.cwd()})"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder: give the path of {article(noun)} file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace").split("\n")
        raise ConfigError(
            f"{path}:{len(before)}:{len(before[-1]) + 1}: not UTF-8 (byte "
            f"0x{data[error.start]:02X}): save the file as UTF-8"
        ) from None
