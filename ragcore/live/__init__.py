"""The memory that a running program serves: hold it, swap it, follow the store."""
