"""One page about a run: ``page`` puts it together, ``outcome`` and ``insight`` write its sections."""
