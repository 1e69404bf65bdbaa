"""Read passages from files, and split long texts into passages."""
