"""hnswlib as a vector index for ragcore."""
