"""What guides the fusion: label keywords, tonal labels, label embeddings."""
