"""From the bytes of a file to mono samples: every kind of recording that people own, whole or damaged."""
