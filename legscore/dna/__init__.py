"""DNA as numbers: codes, one-hot channels, batches, folds, and the contract that says what a model reads."""
