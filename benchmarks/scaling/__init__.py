"""The parts of `scale.py`: passages, vectors, stages in processes of their own, rates, tables."""
