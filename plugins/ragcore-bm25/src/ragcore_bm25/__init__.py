"""BM25 as a retriever for ragcore."""
