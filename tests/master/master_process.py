"""A master process of the tests: python master_process.py RUN [HOST]; it begins the run or goes on with it.

The host ``outward`` is this machine's outward address.
"""

from __future__ import annotations

import logging
import sys

from master.hosts import outward_address
from master.loop import StudyFailedError
from master.settings import DispatcherSettings, WaitSettings
from master.signals import stop_flag
from master.study import run_master
from results.run_directory import RunDirectory

SETTINGS = DispatcherSettings(silence_limit_s=3.0, max_losses=20)

if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    with stop_flag() as stop:
        try:
            end = run_master(
                RunDirectory.open(sys.argv[1]),
                resume=True,
                host=outward_address() if host == "outward" else host,
                dispatcher_settings=SETTINGS,
                wait_settings=WaitSettings(message_interval_s=0.5),
                stop=stop,
            )
        except StudyFailedError as error:
            sys.exit(f"failed: {error}")
    assert end.ending is not None
    print(f"{end.ending.value}: {end.n_done} of {end.n_total}", flush=True)
    sys.exit(stop.status)
