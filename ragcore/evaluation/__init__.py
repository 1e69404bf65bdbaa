"""Measure how good answers are, and what changes with another version of the memory."""
