"""docker/ without Docker: the compose file, and the script that begins a run or goes on with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import run_bohb

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


COMPOSE = SCRIPT.with_name("compose.yaml")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_every_service_survives_and_is_not_root() -> None:
    assert set(services()) == {"master", "worker", "worker-gpu"}
    for service in services().values():
        assert service["restart"] == "on-failure"
        assert service["stop_grace_period"] == "1m"
        assert service["user"] == "${UID:-1000}:${GID:-1000}"
        assert service["init"] is True
    master, gpu = services()["master"], services()["worker-gpu"]
    assert master["healthcheck"]["test"][:3] == ["CMD", "test", "-s"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert gpu["profiles"] == ["gpu"]


def test_the_commands_of_the_services_are_ones_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study that they describe is checked and planned; a worker's command waits for it."""
    monkeypatch.chdir(tmp_path)
    environment = stub(tmp_path, 'printf "%s\\n" "$@"')
    master = services()["master"]
    script, run, host = master["entrypoint"]
    assert (Path(script).name, run) == (SCRIPT.name, "/study/runs/${RUN:-first}")
    command = [str(SCRIPT), "runs/first", host, *(option.replace("${WORKERS:-2}", "2") for option in master["command"])]
    called = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert run_bohb.main([*called, "--plan", "1"]) == 0
    assert "Evaluations: 26" in capsys.readouterr().out
    for name in ("worker", "worker-gpu"):
        assert services()[name]["command"] == ["worker", run]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("profile", [[], ["--profile", "gpu"]])
def test_compose_accepts_the_file(profile: list[str]) -> None:
    """Needs no Docker."""
    command = ["docker-compose", "-f", str(COMPOSE), *profile, "config", "--quiet"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""
