"""Decode answers over several passages: beam search, RAG-Token and RAG-Sequence."""
