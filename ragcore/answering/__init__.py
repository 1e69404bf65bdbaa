"""From a question to an answer: retrieve, read, condition, decode, collect evidence."""
