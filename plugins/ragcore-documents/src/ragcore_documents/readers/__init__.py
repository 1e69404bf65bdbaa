"""Readers of formats: each makes a document's text of a file's bytes, and opens no other file."""
