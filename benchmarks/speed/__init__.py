"""What `generation.py` measures, and how; not run on its own."""
