"""Training: the loop, its checkpoints, and the ledger of finished runs."""
