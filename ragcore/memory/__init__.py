"""One opened version of a memory: its passages, and a checked search over them."""
