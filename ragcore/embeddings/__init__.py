"""Vectors of passages on disk, by encoder and text, so that no text is encoded twice."""
