"""Folders of Markdown, HTML, PDF, Word and other documents as a corpus for ragcore."""
