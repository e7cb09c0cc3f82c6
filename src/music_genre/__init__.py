"""From labelled music to a served genre classifier."""
