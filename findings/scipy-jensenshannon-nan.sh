#!/usr/bin/env bash
# scipy 1.17.1: scipy.spatial.distance.jensenshannon gives NaN for distributions that are nearly the same.
#
# The divergence of two nearly equal distributions is a sum of terms that cancel. Rounding can make it slightly negative,
# and the function takes its square root without a bound at zero: NaN in place of a distance near 0. No exception is
# raised; the only sign is numpy's RuntimeWarning "invalid value encountered in sqrt".
#
# Seen (Python 3.11, numpy 2.4.6, x86-64, Linux): of 20,000 pairs of histograms of ten bins that differ by one count in
# two bins, none is NaN where counts go up to ten million, about one in nine where they go up to a hundred million, and
# one in three where they go up to a thousand million. A comparison such as `distance > threshold` is then false by
# accident; `max` over several distances is NaN. What helps: clip the square of the distance at 0, or take NaN of finite
# inputs for 0.
#
# It fails if a version no longer does this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon

print("scipy", scipy.__version__, "numpy", np.__version__)
single = jensenshannon([74924470, 50999355], [74924471, 50999354], base=2)
print("two bins, one count moved:", single)
rng, fractions = np.random.default_rng(0), {}
for largest in (10**7, 10**8, 10**9):
    first = rng.integers(1, largest, (20_000, 10)).astype(float)
    second = first.copy()
    second[:, 0] += 1
    second[:, 1] -= 1
    fractions[largest] = np.isnan(jensenshannon(first, second, base=2, axis=1)).mean()
    print(f"counts up to {largest:>13,}: {fractions[largest]:.1%} NaN")
assert np.isnan(single), "no NaN for the pair of two bins"
assert fractions[10**7] == 0 and 0.05 < fractions[10**8] < 0.2 < fractions[10**9], fractions
PYTHON
echo "as described"
