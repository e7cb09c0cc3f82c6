#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 25.0.1: Series.map with na_action="ignore" over a text column without any value gives a column
# of dtype null[pyarrow], which fillna cannot fill.
#
# As long as one value is there, mapping text to text gives text. In a column in which every value is missing, as a
# filtered table easily has, the result is of Arrow's type "null". Filling it raises NotImplementedError ("Converting
# strings to null is not implemented.") where a Series of text is given, and pyarrow's ArrowInvalid where one text is: so
# the same line of code works or fails by the data. What helps: astype("string") after map.
#
# It fails if a version no longer does this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==25.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import pandas as pd
import pyarrow

print("pandas", pd.__version__, "pyarrow", pyarrow.__version__)
genres = pd.Series(["Rock", "Pop"], dtype="string")


def mapped(values: list[str | None]) -> pd.Series:
    return pd.Series(values, dtype="string").map(str.upper, na_action="ignore")


def error_of(column: pd.Series, value: object) -> str:
    try:
        column.fillna(value)
    except Exception as error:
        return type(error).__name__
    return "none"


some, none = mapped(["folk", None]), mapped([None, None])
seen = {
    "dtype, one value": str(some.dtype),
    "dtype, no value": str(none.dtype),
    "error of fillna with a Series": error_of(none, genres),
    "error of fillna with a text": error_of(none, "x"),
    "error after astype": error_of(none.astype("string"), genres),
}
print(*(f"{name}: {value}" for name, value in seen.items()), sep="\n")
assert seen == {
    "dtype, one value": seen["dtype, one value"],
    "dtype, no value": "null[pyarrow]",
    "error of fillna with a Series": "NotImplementedError",
    "error of fillna with a text": "ArrowInvalid",
    "error after astype": "none",
}, seen
assert seen["dtype, one value"] != "null[pyarrow]"
PYTHON
echo "as described"
