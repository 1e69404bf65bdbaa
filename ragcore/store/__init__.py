"""The versions of a memory on disk: build, update, open, compare, collect, archive."""
