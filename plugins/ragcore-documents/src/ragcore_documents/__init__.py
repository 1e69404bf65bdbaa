"""Folders of documents as a corpus for ragcore: Markdown, HTML, PDF, Word, PowerPoint and others."""
