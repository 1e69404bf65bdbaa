"""Show answers and comparisons to people, as terminal text and as HTML."""
