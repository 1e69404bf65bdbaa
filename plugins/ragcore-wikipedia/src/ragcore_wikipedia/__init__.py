"""Dumps of Wikipedia and other MediaWiki wikis as a corpus for ragcore."""
