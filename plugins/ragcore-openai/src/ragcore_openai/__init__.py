"""Models of servers with OpenAI's API as components for ragcore."""
