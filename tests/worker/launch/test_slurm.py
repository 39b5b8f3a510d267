"""Jobs of Slurm, with an `sbatch`, an `scontrol` and an `scancel` that write down how they were called."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run_bohb
from results.run_directory import RunDirectory

ROOT = Path(__file__).parents[3]
STUDY = [
    "--slurm", "--run-dir", "my run@home", "--dataset", "digits", "--min-budget", "1", "--max-budget", "2",
    "--iterations", "2", "--workers", "5", "--search", "init_channels=4", "cells_per_stack=1", "threads=1",
]  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of sbatch, scontrol and scancel, one line each; sbatch numbers its jobs from 41."""
    calls = tmp_path / "calls"
    (tmp_path / "bin").mkdir()
    number = f"echo $((40 + $(wc -l < {calls})))';cluster'"
    for name, answer in (("sbatch", number), ("scontrol", ":"), ("scancel", ":")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nprintf "%s|" {name} "$@" >> {calls}\necho >> {calls}\n{answer}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return calls


def options(script: str) -> list[str]:
    """The options that Slurm reads: those above the first command."""
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def program(script: str) -> list[str]:
    """The last line, which replaces the shell."""
    exec_, python, path, *arguments = shlex.split(script.splitlines()[-1])
    assert (exec_, python, path) == ("exec", sys.executable, str(ROOT / "run_bohb.py"))
    return arguments


def test_a_master_and_an_array_of_workers_are_submitted(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    further = ["--gres", "gpu:a100:2", "--partition", "gpu", "--account", "nas", "--cpus", "8", "--memory", "32G"]
    further += ["--worker-sbatch", "qos=long", "exclusive", "--master-sbatch", "partition=cpu", "time=7-0"]
    assert run_bohb.main(["launch", *STUDY, *further, "--epoch-timeout-s", "600"]) == 0
    run, folder = tmp_path / "my run@home", tmp_path / "my run@home" / "slurm"
    assert RunDirectory.open(run).spec().n_workers == 5
    assert slurm.read_text().splitlines() == [
        f"sbatch|--parsable|{folder}/master.sh|",
        f"sbatch|--parsable|--dependency=after:41|{folder}/worker.sh|",
    ]
    master, worker = ((folder / name).read_text() for name in ("master.sh", "worker.sh"))
    assert program(master) == ["master", "--resume", str(run), "--requeue", "--epoch-timeout-s", "600.0"]
    given = ["--partition=gpu", "--account=nas", "--time=1440", "--signal=B:USR1@300", "--requeue"]
    assert options(master) == [
        "--job-name='my run@home-master'",
        f"--output='{folder}/master-%j.log'",
        "--open-mode=append",
        *given,
        "--cpus-per-task=1",
        "--mem=4G",
        "--partition=cpu",  # of an option that comes twice, Slurm takes the last
        "--time=7-0",
    ]
    assert options(worker) == [
        "--job-name='my run@home-worker'",
        f"--output='{folder}/worker-%A_%a.log'",
        "--array=1-3",  # five workers, two in a job
        "--open-mode=append",
        *given,
        "--gres=gpu:a100:2",
        "--cpus-per-task=8",
        "--mem=32G",
        "--qos=long",
        "--exclusive",
    ]
    name, path, walltime, hours, *rest = program(worker)
    assert (name, path, walltime) == ("worker", str(run), "--walltime-h")
    assert 24 - 60 / 3600 < float(hours) < 24  # the process is younger than its job
    assert rest == ["--requeue", "--gpus", "all", "--workers-per-gpu", "1"]
    assert "scancel 41 42" in capsys.readouterr().out


def test_a_dry_run_prints_the_scripts_and_leaves_nothing(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bohb.main(["launch", *STUDY, "--dry-run", "--gres", "none", "--walltime-h", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert not slurm.exists()
    assert not (tmp_path / "my run@home").exists()
    master, worker = (f"#!/bin/sh\n{text}" for text in printed.split("#!/bin/sh\n")[1:])
    assert "master.sh" in printed
    assert "--signal=B:USR1@90" in options(master)  # a quarter of six minutes
    assert "--time=6" in options(worker)
    assert "--array=1-5" in options(worker)
    assert "--gres" not in printed
    assert "--gpus" not in printed
    for script in (master.partition("\n# my")[0], worker):
        assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_study_is_gone_on_with_in_new_jobs(slurm: Path, tmp_path: Path) -> None:
    assert run_bohb.main(["launch", *STUDY]) == 0
    assert run_bohb.main(["launch", "--slurm", "--resume", "my run@home", "--walltime-h", "2"]) == 0
    script = (tmp_path / "my run@home" / "slurm" / "worker.sh").read_text()
    assert {"--time=120", "--array=1-5", "--gres=gpu:1"} <= set(options(script))
    assert len(slurm.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-slurm"], "--slurm: expected"),
        (["--walltime-h", "0.01"], "--walltime-h: got 0.01, expected hours from 0.033 up"),
        (["--walltime-h", "inf"], "--walltime-h: got inf"),
        (["--limit-h", "30"], "--limit-h: got 30, expected less than --walltime-h, 24"),
        (["--cpus", "0"], "--cpus: got 0, expected at least 1"),
        (["--workers-per-gpu", "2", "--gres", "none"], "--workers-per-gpu: got 2, but --gres none has no GPU"),
        (["--worker-sbatch", "time=60"], "--worker-sbatch: got a limit of time or an array, expected --walltime-h"),
        (["--max-budget", "0"], "max_budget|--max-budget"),
    ],
)
def test_what_makes_no_job_is_refused(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_bohb.main(["launch", *STUDY, *arguments]) == 2
    printed = capsys.readouterr().err
    assert any(part in printed for part in message.split("|")), printed
    assert not slurm.exists()
    assert not (tmp_path / "my run@home").exists()


def test_what_sbatch_says_is_passed_on(slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: gpu' >&2\nexit 1\n")
    assert run_bohb.main(["launch", *STUDY]) == 2
    printed = capsys.readouterr().err
    assert "invalid partition: gpu" in printed
    assert f"--resume {tmp_path / 'my run@home'}" in printed


def test_a_master_whose_workers_are_refused_is_taken_back(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin" / "sbatch").write_text('#!/bin/sh\ncase "$*" in *worker.sh) exit 1;; esac\necho 41\n')
    assert run_bohb.main(["launch", *STUDY]) == 2
    assert slurm.read_text() == "scancel|41|\n"
    assert "the master's job, 41, is taken back; then go on by" in capsys.readouterr().err


def test_a_machine_without_slurm_is_told_in_a_sentence(
    slurm: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run_bohb.main(["launch", *STUDY]) == 2
    assert "--slurm: sbatch cannot be run (No such file or directory); run this on a login node" in (
        capsys.readouterr().err
    )


def start(*arguments: object, job: bool = True) -> subprocess.Popen[str]:
    """A command of this program in a job, the last one of an array: its own number is that of the array."""
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_bohb.py"), *map(str, arguments)],
        env=environment if job else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it has ended with {process.wait()}, and has not said {text!r}")


@pytest.mark.parametrize(
    ("number", "is_requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False), (signal.SIGINT, False)]
)
def test_a_worker_requeues_its_job_after_the_notice_alone(
    slurm: Path, number: signal.Signals, is_requeued: bool
) -> None:
    """Who cancels a job wants it to stay away."""
    process = start("worker", "run", "--requeue")
    wait_for_line(process, "waiting for a master")
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert (slurm.read_text() if slurm.exists() else "") == ("scontrol|requeue|7_3|\n" if is_requeued else "")


def test_a_worker_requeues_its_job_at_the_wall_time(slurm: Path) -> None:
    """Whatever it is doing: here, it waits for a master."""
    process = start("worker", "run", "--requeue", "--walltime-h", 8 / 3600)
    deadline = time.monotonic() + 60
    while not slurm.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline, "waited 60 s"
        time.sleep(0.05)
    process.terminate()  # as Slurm does now
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert slurm.read_text() == "scontrol|requeue|7_3|\n"


def test_workers_on_gpus_requeue_their_job_once(slurm: Path, tmp_path: Path) -> None:
    listing = tmp_path / "bin" / "nvidia-smi"
    listing.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\necho 'GPU 1: H100 (UUID: GPU-2)'\n")
    listing.chmod(0o755)
    process = start("worker", "run", "--requeue", "--gpus", "all")
    wait_for_line(process, "2 workers on GPU 0, 1")
    for _ in range(2):
        wait_for_line(process, "waiting for a master")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 128 + signal.SIGUSR1
    assert slurm.read_text() == "scontrol|requeue|7_3|\n"


def test_requeueing_wants_a_job(slurm: Path) -> None:
    process = start("worker", "run", "--requeue", job=False)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--requeue: this process runs in no job of Slurm (SLURM_JOB_ID is not set); leave it out" in output
