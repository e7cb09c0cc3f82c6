"""What to train on: one module a kind of collection, under the name that ``params.yaml`` gives it; splits; inspection."""
