"""Read MediaWiki XML dumps: containers, parts, streams and pages."""
