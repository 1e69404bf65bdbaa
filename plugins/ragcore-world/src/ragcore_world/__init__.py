"""The World Factbook for ragcore: a corpus in three editions, a small reader, and a demo.

Importing this package imports nothing else of it; ragcore finds its parts through `plugin.py`.
"""
