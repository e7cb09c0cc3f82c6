"""From audio to predicted genres, for one recording or many files."""
