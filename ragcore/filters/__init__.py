"""Filters over passage metadata: parse an expression, and find the rows that it allows."""
