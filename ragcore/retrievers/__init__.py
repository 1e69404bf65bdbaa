"""The core's retrievers: dense search, the flat index, segments, hybrid and rerank."""
