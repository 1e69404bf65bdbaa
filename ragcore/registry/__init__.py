"""Discover plugins, look components up by name, and build what a config names."""
