"""Write files and arrays atomically, share them by hard links, and yield to other threads."""
