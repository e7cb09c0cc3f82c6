"""Names as people write them: of artists, in tags and folders, and of genres.

An artist's key is the same however the name is written, and each artist of a track has a key of its own.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd

# Between the artists of one credit. A comma, an ampersand and a slash without blanks also stand within names.
SEPARATOR = re.compile(
    r"\s*[;\0]\s*|\s+/\s+|\s*[(\[]?\b(?:feat|ft|featuring)\b(?:\.|(?=\s))\s*|\s+vs\.?\s+", re.IGNORECASE
)
COMPILATIONS = frozenset(
    [
        "various",
        "various artists",
        "various artist",
        "va",
        "v.a.",
        "v/a",
        "v.a",
        "diverse",
        "diverse artists",
        "diverse interpreten",
        "verschiedene",
        "verschiedene interpreten",
        "varios",
        "varios artistas",
        "varios intérpretes",
        "artistes divers",
        "artisti vari",
        "vários artistas",
        "multiple artists",
        "compilation",
        "compilations",
        "sampler",
        "soundtrack",
        "original soundtrack",
        "ost",
        "unknown",
        "unknown artist",
        "<unknown>",
        "[unknown]",
        "(unknown)",
        "n/a",
        "no artist",
        "untitled artist",
        "artist",
    ]
)
DISC_FOLDER = re.compile(r"(?:cd|disc|disk|vol(?:ume)?)[\s._-]*\d+", re.IGNORECASE)


def artist_keys(credit: str | None) -> tuple[str, ...]:
    """The artists that a credit names, each in one form.

    Letter case, Unicode form, surrounding and repeated blanks make no difference. Compilations ("Various Artists") and
    empty names are no artists.

    Args:
        credit: as a tag or a folder has it, such as ``The Ones feat. Two``.

    Returns:
        Each artist once, sorted.
    """
    if credit is None:
        return ()
    names = (_plain(name).strip("()[] ") for name in SEPARATOR.split(unicodedata.normalize("NFKC", credit)))
    return tuple(sorted({name for name in names if name and not _is_compilation(name)}))


def artist_groups(artist_id: pd.Series) -> np.ndarray:
    """(n,) int64, equal for tracks of one artist; a track whose artist is not known is a group of its own.

    Args:
        artist_id: (n,) as in ``tracks.parquet``.
    """
    unknown = pd.Series(np.arange(len(artist_id)), artist_id.index).map("track {}".format)
    codes: np.ndarray = pd.factorize(artist_id.astype("string").fillna(unknown))[0]
    return codes


def _is_compilation(name: str) -> bool:
    return name in COMPILATIONS or name.endswith((" compilation", " sampler", " soundtrack"))


def artist_of_folders(parts: tuple[str, ...]) -> str | None:
    """The artist by the folders between genre and file, where there are any: ``<genre>/<artist>/<album>/<file>``.

    Args:
        parts: of the path below the genre's folder, with the file's name.
    """
    if len(parts) < 2 or DISC_FOLDER.fullmatch(parts[0]):
        return None
    return parts[0]


def unify_genres(genres: pd.Series) -> tuple[pd.Series, list[str]]:
    """Give genres whose names differ only in Unicode form, letter case or surrounding blanks one name.

    Args:
        genres: (n,) names; nulls stay.

    Returns:
        The name that most tracks have, in Unicode's composed form without surrounding blanks; and a note for each name
        that several were unified to.
    """
    composed = genres.astype("string").str.normalize("NFC").str.strip()
    keys = composed.map(_plain, na_action="ignore").astype("string")
    counts = pd.DataFrame({"key": keys, "name": composed}).value_counts().reset_index()
    counts = counts.sort_values(["count", "name"], ascending=[False, True])
    chosen = counts.drop_duplicates("key").set_index("key")["name"]
    notes = [
        f"{', '.join(map(repr, sorted(written)))} are one genre: {chosen[key]}"
        for key, written in genres.dropna().groupby(keys).unique().items()
        if len(written) > 1
    ]
    return keys.map(chosen).astype("string"), notes


def _plain(name: str) -> str:
    """A name in one letter case and Unicode form, with single blanks."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
