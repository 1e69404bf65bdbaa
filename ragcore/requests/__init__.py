"""What a pipeline can be asked: answers, events, searches and scores, blocking or awaited."""
