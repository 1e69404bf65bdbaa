"""Static embeddings of model2vec as an encoder for ragcore."""
