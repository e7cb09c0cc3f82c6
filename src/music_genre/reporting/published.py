"""Results that the study printed, for comparison with a run's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAccuracy:
    """Accuracy on the official split of FMA-small, from the study's notebooks.

    Args:
        validation: of the best epoch.
        test: of that epoch.
    """

    validation: float
    test: float


PUBLISHED_ACCURACY = {
    "crnn": PublishedAccuracy(validation=0.514, test=0.441),
    "parallel": PublishedAccuracy(validation=0.529, test=0.444),
}
# Of K-means on what the study's CRNN makes of FMA-small.
PUBLISHED_CLUSTERS = {"clusters": 8, "adjusted_rand": 0.22, "silhouette": 0.30}
