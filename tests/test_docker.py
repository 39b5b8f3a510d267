"""What can be tried of docker/ without Docker: the script that begins a run or goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "docker" / "master.sh"


def stub(folder: Path, body: str) -> dict[str, str]:
    """An environment in which ``nasbohb`` is a script of two lines."""
    program = folder / "nasbohb"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_new_run_is_begun_and_an_old_one_gone_on_with(tmp_path: Path) -> None:
    environment = stub(tmp_path, 'echo "$@"')
    run = tmp_path / "my run"

    def call() -> str:
        command = [str(SCRIPT), str(run), "master", "--workers=2", "--search", "threads=1"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert call() == f"master --run-dir {run} --host master --workers=2 --search threads=1"
    run.mkdir()
    (run / "run.json").touch()
    assert call() == f"master --resume {run} --host master"


def test_signals_reach_the_master(tmp_path: Path) -> None:
    """F25: a shell between would be hit alone."""
    pid = tmp_path / "pid"
    environment = stub(tmp_path, f"echo $$ > {pid}\nexec sleep 60")
    process = subprocess.Popen([str(SCRIPT), str(tmp_path / "run"), "master"], env=environment)
    deadline = time.monotonic() + 20
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline, "waited 20 s"
        time.sleep(0.01)
    assert int(pid.read_text()) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM
