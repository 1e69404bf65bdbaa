"""Decoding over several passages: beams, RAG-Token and RAG-Sequence."""
