"""Metrics: figures of how good answers and passages are, each a registered component."""
