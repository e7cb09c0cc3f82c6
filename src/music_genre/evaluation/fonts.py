"""Fonts for names in any script. They come with the installation, so that a figure is the same on every machine."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

FIRST_FAMILY = "DejaVu Sans"  # matplotlib's own: Latin, Greek, Cyrillic, Arabic, Hebrew and more
FONT_PACKAGES = ("manimgx_fonts", "noto_cjk_sans_jp_regular")  # Noto, under the SIL Open Font License
SUFFIXES = (".ttf", ".otf")


@cache
def font_families() -> tuple[str, ...]:
    """Font families in the order in which matplotlib looks for a glyph."""
    from matplotlib.font_manager import fontManager

    families = [FIRST_FAMILY]
    for package in FONT_PACKAGES:
        upright = [file for file in files(package).iterdir() if file.name.endswith(SUFFIXES)]
        for file in sorted(upright, key=lambda file: file.name):
            if "Italic" in file.name:
                continue
            n_known = len(fontManager.ttflist)
            with as_file(file) as path:
                fontManager.addfont(path)
            families.append(fontManager.ttflist[n_known].name)
    return tuple(families)
