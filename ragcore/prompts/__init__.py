"""Prompts and replies of causal models: templates, chats, thinking, cut passages, words, ends."""
