#!/usr/bin/env bash
# distributed 2026.8.0: a LocalCluster gives up for good a worker process that is lost twice, where its second restart
# happens to be under way when the cluster looks after the first loss.
#
# A nanny starts a worker that ended again, within half a second, as often as needed. Beside it, the cluster itself looks
# once, `distributed.deploy.lost-worker-timeout` (15 s) after any loss, whether the worker is back. It does not ask for
# which loss: if the worker has been back for long, but is being restarted a second time at that very moment, the cluster
# closes the nanny and forgets the worker. Nobody starts it again. A program whose tasks now and then end their process
# loses its workers one by one, and at last waits for ever without an error. A second loss at any other moment is
# harmless. What helps: a very long timeout, as nannies do the restarting anyway.
#
# The script shortens the timeout to 4 s and ends the process of one idle worker twice. It fails if a version no longer
# does this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0
cat > "$folder/lose_twice.py" <<'PYTHON'
import os
import signal
import sys
import time

import dask
import distributed
from distributed import Client, LocalCluster

CHECK_S = 4.0


def lose_twice(second_loss_s: float) -> int:
    """Workers that are left when the first of two was lost, was back, and was lost again after so many seconds."""
    dask.config.set({"distributed.deploy.lost-worker-timeout": f"{CHECK_S} s"})
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)

        def count() -> int:
            return len(client.scheduler_info(n_workers=-1)["workers"])

        def end_first() -> None:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            address = next(address for address, worker in workers.items() if worker["name"] == 0)
            os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)

        end_first()
        while count() == 2:
            time.sleep(0.005)
        lost = time.monotonic()
        while count() < 2:
            time.sleep(0.005)
        time.sleep(max(0.0, lost + second_loss_s - time.monotonic()))
        end_first()
        time.sleep(8)
        return count()


if __name__ == "__main__":
    print("distributed", distributed.__version__, "Python", sys.version.split()[0])
    during, after = lose_twice(CHECK_S - 0.15), lose_twice(CHECK_S + 2)
    print(f"workers of 2 that are left: {during} (lost again at the check), {after} (lost again later)")
    assert (during, after) == (1, 2)
PYTHON
"$folder/venv/bin/python" "$folder/lose_twice.py"
echo "as described"
