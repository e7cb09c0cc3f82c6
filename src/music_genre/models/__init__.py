"""One architecture a module.

``crnn`` and ``parallel`` each have a ``published`` and an ``improved`` builder; ``blocks`` and ``assembly`` are what
the improved ones share, ``swift`` and ``recurrent`` train the published ones on a processor.
"""
