"""Work of ragcore on a Ray cluster."""
