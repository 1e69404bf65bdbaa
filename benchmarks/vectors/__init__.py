"""What `vector_search.py` measures, and how; not run on its own."""
