"""Where the parts of a job run, and how their outcomes and errors come back."""
