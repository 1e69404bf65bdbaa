"""The memory: passages on disk, their versions in a store, and the swap of a live one."""
