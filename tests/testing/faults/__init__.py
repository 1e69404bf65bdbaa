"""Wrong components, to measure how many of them the contract suites catch.

Each kind has a correct component and copies of it that have one mistake each, such as authors of
plugins make. Their author did not read the suites. `python -m tests.testing.faults [KIND ...]`
prints the score. A mistake that some suite does not catch is listed in `score.py`.
"""
