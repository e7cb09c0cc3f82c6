"""``python -m music_genre.cli``."""

import sys

from music_genre.cli import main

sys.exit(main())
