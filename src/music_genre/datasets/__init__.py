"""What to train on: one module a kind of data set, named as in ``params.yaml``; splits and inspection."""
