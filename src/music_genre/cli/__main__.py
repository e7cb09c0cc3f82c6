"""``python -m music_genre.cli``."""

from music_genre.cli.main import main

main()
