#!/usr/bin/env bash
# mlflow 3.17.2 with SQLAlchemy 2.1.9: an SQLite store whose creation was killed can never be opened again.
#
# The first connection to a new database creates about a hundred tables, one migration after the other. Nothing makes that
# one step: SQLite keeps every table that was made before the process was killed, and the number of the last migration
# that was recorded is an older one. The next connection takes the database for an old one and repeats the migrations from
# there; the first table that exists already ends it with `OperationalError: table ... already exists`, at every try.
# It takes seconds on a slow machine, in which a job may be killed. What helps: create the database under another name,
# rename it once it is complete.
#
# The script kills a first connection at its thirtieth table, then opens the store twice. It fails if a version no longer
# does this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9 \
  alembic==1.20.1
cd "$folder"
cat > create.py <<'PYTHON'
import os
import signal
import sys

import mlflow
import sqlalchemy

n_tables, last = 0, int(sys.argv[1])


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    global n_tables
    n_tables += "CREATE TABLE" in statement
    if n_tables == last:
        os.kill(os.getpid(), signal.SIGKILL)


print(len(mlflow.MlflowClient(sys.argv[2]).search_experiments()), "experiment,", n_tables, "tables")
PYTHON
export MLFLOW_DISABLE_TELEMETRY=true
venv/bin/python create.py 1000 sqlite:///whole.db
code=0
venv/bin/python create.py 30 sqlite:///killed.db || code=$?
test "$code" -eq 137
for _ in 1 2; do
  if venv/bin/python create.py 1000 sqlite:///killed.db 2> error.txt; then
    echo "the store was opened" >&2
    exit 1
  fi
  grep -o 'OperationalError) table [a-z_]* already exists' error.txt | head -1
  grep -q 'already exists' error.txt
done
echo "as described"
