"""From audio to stored log-mel spectrograms."""
