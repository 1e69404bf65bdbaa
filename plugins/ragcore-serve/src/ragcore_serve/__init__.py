"""Serve pipelines over HTTP: answers with their evidence, versions, and swaps under load."""
