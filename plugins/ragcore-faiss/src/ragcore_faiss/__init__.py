"""FAISS as a vector index for ragcore."""
