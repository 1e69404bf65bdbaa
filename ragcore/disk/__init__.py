"""Read, write and share files so that a crash or a full disk corrupts none; yield to threads."""
