"""Read Wikipedia dumps as a corpus of ragcore."""
