"""Experiments: several systems on the same questions, compared with statistics."""
