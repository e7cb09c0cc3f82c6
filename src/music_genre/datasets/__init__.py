"""One module a kind of collection: how it gets to ``data/raw`` and which tracks it holds."""
