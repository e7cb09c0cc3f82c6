"""Train networks: recipes, batches with augmentation, checkpoints that survive an interruption."""
