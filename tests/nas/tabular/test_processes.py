"""Worker processes: Ctrl-C reaches them through their parent alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.tabular.processes import WorkerProcesses

ROOT = Path(__file__).resolve().parents[3]
#: Both processes stay where they have told that they are: the main module is loaded in them before they are ready.
SCRIPT = """
import os, sys, time
from nas.tabular.processes import WorkerProcesses

def stay(stage):
    if stage == sys.argv[1]:
        os.write(1, (stage + chr(10)).encode())  # at once: lines of two processes do not mix
        time.sleep(600)

if __name__ == "__main__":
    with WorkerProcesses(2) as pool:
        calls = [pool.submit(stay, "working") for _ in range(4)]
        calls[0].result()
else:
    stay("loading")
"""


def test_calls_are_answered() -> None:
    with WorkerProcesses(2) as pool:
        assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]


@pytest.mark.parametrize("stage", ["loading", "working"])
def test_ctrl_c_ends_all_processes_and_the_parent_alone_tells_of_it(tmp_path: Path, stage: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), stage],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout is not None
            assert [parent.stdout.readline() for _ in range(2)] == [f"{stage}\n"] * 2
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
            _, err = parent.communicate(timeout=120)  # until no process holds stderr; the calls would take longer
        except BaseException:
            os.killpg(parent.pid, signal.SIGKILL)
            raise
    assert parent.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1
    assert err.endswith("KeyboardInterrupt\n")
