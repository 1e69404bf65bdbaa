"""Milvus as a vector index for ragcore: one collection for each immutable segment."""
