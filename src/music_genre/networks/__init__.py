"""One architecture a module. Each network has ``published`` and ``improved`` builders; ``blocks`` and ``assembly`` are what the improved share."""
