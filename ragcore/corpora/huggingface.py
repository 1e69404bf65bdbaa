"""Passages from a data set of Hugging Face's library `datasets`, saved in a folder or on a hub.

The library is an optional dependency, imported when a corpus is read. Since its release 4 it runs
no code that comes with a data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from ragcore.corpora.arrow_rows import BATCH, arrow_rows, columns_to_read
from ragcore.corpora.presets import PresetName
from ragcore.corpora.rows import Row, RowConfig, RowCorpus, keys_of
from ragcore.corpora.shards import Shard
from ragcore.errors import CorpusError
from ragcore.registry.components import ComponentConfig, ConfigPath
from ragcore.registry.installation import DISTRIBUTION, install_hint

__all__ = ["HuggingFace"]

_OLDEST: Final = 4
"""The first major release that runs no script of a data set."""


class _Location(ComponentConfig):
    """Where a data set is."""

    path: ConfigPath | None = Field(
        None, description="a folder that save_to_disk of `datasets` has written"
    )
    name: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = Field(
        None, description="the name of a data set on the hub, such as BeIR/scifact"
    )
    subset: str | None = Field(
        None, description="with `name`: one of the hub's subsets (configurations)"
    )
    revision: str | None = Field(
        None, description="with `name`: a branch, tag or commit; null takes the newest state"
    )
    part: str | None = Field(
        None,
        description="one of the data set's splits, such as train or corpus; null takes the only "
        "one",
    )

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if (self.path is None) == (self.name is None):
            raise ValueError("expected one of path (a saved folder) and name (on the hub)")
        if self.path is not None and (self.subset is not None or self.revision is not None):
            raise ValueError("subset and revision are of a data set on the hub, with `name`")
        return self


class HuggingFace(RowCorpus):
    """The rows of a data set; columns are read as in `Parquet`.

    A data set on the hub is streamed: nothing of it is stored. What all corpora of rows do:
    `RowCorpus`.
    """

    class Config(RowConfig, _Location):
        """Settings of `{use: huggingface}`."""

        preset: PresetName | None = Field(
            None, description="the layout of a known collection; null takes the keys above"
        )

    unit: ClassVar[Literal["line", "row"]] = "row"

    def __init__(self, config: Config) -> None:
        super().__init__(config, keys_of(config, config.preset, any_value=True))
        self._config = config

    def rows(self) -> Iterator[Row]:
        """Yield the rows as mappings."""
        part, data = self._data()
        path = self._config.path
        # No absolute path in metadata, which is another on each machine.
        name = self._label() if path is None else path.absolute().name
        shard = Shard(Path(f"{self._label()}[{part}]"), f"{name}[{part}]", is_whole=True)
        if data.column_names is not None:
            columns = columns_to_read(
                self._config, self._config.preset, data.column_names, str(shard.path)
            )
            data = data if columns is None else data.select_columns(columns)
        batches = data.with_format("arrow").iter(batch_size=BATCH)
        yield from arrow_rows(batches, shard, "save or fetch the data set again")

    def fields(self, row: Row, where: str) -> dict[str, Any]:
        """Return the values of a row by their columns."""
        fields: dict[str, Any] = row.content
        return fields

    def row_count(self) -> int | None:
        """Return the number of rows of a saved data set; None for one on the hub."""
        return None if self._config.path is None else len(self._data()[1])

    def _label(self) -> str:
        config = self._config
        if config.path is not None:
            return str(config.path)
        return "/".join(each for each in (config.name, config.subset) if each)

    def _data(self) -> tuple[str, Any]:
        """Open the data set; return the name of the part, and the part.

        Raises:
            CorpusError: the library is missing or too old, there is no such data set or part, or
                the hub cannot be reached.
        """
        library, config = _library(), self._config
        if config.name is not None and Path(config.name).exists():
            # The library would read it in place of the hub's data set.
            raise CorpusError(
                f"{config.name}: the name of a data set on the hub, and of a file or folder in "
                f"{Path.cwd()}: give the folder as `path`, or run ragcore in another folder"
            )
        if config.path is not None:
            if not config.path.is_dir():
                raise CorpusError(
                    f"{config.path}: no such folder: expected one that save_to_disk of `datasets` "
                    "has written"
                )
            action = "is it a folder that save_to_disk of `datasets` has written, and whole?"
        else:
            action = (
                "check name, subset and revision, and whether the hub can be reached; where it "
                "cannot, save the data set elsewhere with save_to_disk, and give the folder as "
                "`path`"
            )
        try:
            if config.path is not None:
                data = library.load_from_disk(str(config.path))
            else:
                data = library.load_dataset(
                    config.name, config.subset, revision=config.revision, streaming=True
                )
        # The library, and those that it calls, raise errors of many kinds.
        except Exception as error:
            raise CorpusError(
                f"{self._label()}: cannot be opened ({type(error).__name__}: {error}): {action}"
            ) from error
        if not isinstance(data, Mapping):
            if config.part is not None:
                raise CorpusError(
                    f"{self._label()}: the data set has no parts, and `part` is {config.part!r}: "
                    "leave it out"
                )
            return "rows", data
        part = config.part or (next(iter(data)) if len(data) == 1 else None)
        if part not in data:
            missing = "name one" if part is None else f"there is no part {part!r}"
            raise CorpusError(
                f"{self._label()}: {missing}: expected `part` to be one of {', '.join(data)}"
            )
        return str(part), data[part]


def _library() -> Any:
    """Import `datasets`.

    Raises:
        CorpusError: it is missing, or too old to be safe.
    """
    hint = install_hint(DISTRIBUTION, "huggingface")
    try:
        import datasets
    except ImportError as error:
        raise CorpusError(
            f"corpus 'huggingface' needs the package datasets, which cannot be imported ({error}): "
            f"{hint}"
        ) from None
    version = str(datasets.__version__)
    if int(version.partition(".")[0]) < _OLDEST:
        raise CorpusError(
            f"corpus 'huggingface': datasets {version} is installed, which may run code that comes "
            f"with a data set: expected {_OLDEST}.0 or later: {hint}"
        )
    return datasets
