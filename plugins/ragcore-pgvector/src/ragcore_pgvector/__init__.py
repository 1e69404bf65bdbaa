"""Memories in PostgreSQL with pgvector for ragcore."""
