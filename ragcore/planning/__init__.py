"""Plan a memory before it is built: time, memory and disk of each stage, and where each is from."""
