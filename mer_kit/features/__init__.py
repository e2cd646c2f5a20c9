"""What models are fed: utterances as tensors, batches of like length, and a store for what is costly to compute."""
