"""Figures of the World Factbook demo: questions, memories, and what is computed of answers."""
