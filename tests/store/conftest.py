"""Share the fixture of tests of shards."""

from tests.helpers.shard_project import pipeline

__all__ = ["pipeline"]
