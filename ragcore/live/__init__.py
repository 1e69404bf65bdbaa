"""The memory that a running program serves: a handle on it, swapping, following the store."""
