"""Worker processes on this machine: replaced when they die, gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from master.signals import StopFlag
from tests.waiting import wait_for
from worker.launch.local import LocalWorkers, LocalWorkersFailedError, run_together

SLEEP = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]


def pids(workers: LocalWorkers, slot: int) -> list[int]:
    return [int(line) for line in workers.log(slot).read_text().split()]


def test_a_dead_worker_is_replaced_and_all_end_with_the_context(tmp_path: Path) -> None:
    workers = LocalWorkers(SLEEP, [{}] * 2, tmp_path / "logs", farewell_s=0.1)
    with workers:
        workers.watch()
        wait_for(lambda: all(pids(workers, slot) for slot in (0, 1)))
        os.kill(pids(workers, 0)[0], signal.SIGKILL)

        def replaced() -> bool:
            workers.watch()
            return len(pids(workers, 0)) == 2

        wait_for(replaced)
        assert len(pids(workers, 1)) == 1
    for slot in (0, 1):
        for pid in pids(workers, slot):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def watch_for_ever(workers: LocalWorkers) -> None:
    while True:
        workers.watch()
        time.sleep(0.02)


def test_workers_that_keep_dying_end_the_study_with_their_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such library')"]
    with LocalWorkers(command, [{}], tmp_path) as workers:
        with pytest.raises(LocalWorkersFailedError, match="no such library"):
            watch_for_ever(workers)
        assert workers.log(0).read_text().count("no such library") == 4  # one, and three replacements


def test_a_worker_that_ended_early_is_replaced_whatever_its_status(tmp_path: Path) -> None:
    with LocalWorkers([sys.executable, "-c", "print('done')"], [{}], tmp_path) as workers:

        def ran_twice() -> bool:
            workers.watch()
            return workers.log(0).read_text().count("done") >= 2

        wait_for(ran_twice)


def test_deaths_with_successes_between_do_not_end_the_study(tmp_path: Path) -> None:
    """F10: three deaths a worker for its whole life ended a study of 260 evaluations at 27."""
    with LocalWorkers([sys.executable, "-c", "print('done')"], [{}], tmp_path) as workers:

        def ran_often() -> bool:
            workers.watch(has_succeeded=True)
            return workers.log(0).read_text().count("done") >= 8

        wait_for(ran_often)


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    """Also if it is killed: their standard input is closed then."""
    read = [sys.executable, "-c", "import os, sys; print(os.getpid(), flush=True); sys.stdin.read(); print('ended')"]
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom worker.launch.local import LocalWorkers\n"
        f"with LocalWorkers({read!r}, [{{}}] * 2, Path({str(tmp_path)!r})) as workers:\n"
        "    workers.watch()\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    logs = [tmp_path / f"worker-{slot}.log" for slot in (0, 1)]
    wait_for(lambda: all(log.exists() and log.read_text() for log in logs))
    process.kill()
    process.wait()
    wait_for(lambda: all("ended" in log.read_text() for log in logs))


PRINT_GPU = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)"]


def test_each_worker_of_a_study_has_its_own_environment(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES as the processes see it; a successor sees the same."""
    environments = [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "GPU-1")]
    with LocalWorkers(PRINT_GPU, environments, tmp_path) as workers:

        def ran_twice() -> bool:
            workers.watch()
            return all(len(workers.log(slot).read_text().split()) >= 2 for slot in (0, 1))

        wait_for(ran_twice)
        for slot, name in ((0, "0"), (1, "GPU-1")):
            assert set(workers.log(slot).read_text().split()) == {name}


def test_processes_run_together_until_all_have_ended(tmp_path: Path) -> None:
    """Each writes the GPU that it sees into a file of its own, and ends with a status of its own."""
    program = (
        "import os, sys; gpu = os.environ['CUDA_VISIBLE_DEVICES']; "
        f"open({str(tmp_path)!r} + '/' + gpu, 'x').write(gpu); sys.exit(int(gpu))"
    )
    command = [sys.executable, "-c", program]

    def status(*gpus: str) -> int:
        for path in tmp_path.iterdir():
            path.unlink()
        found = run_together(command, [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus], StopFlag())
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {gpu: gpu for gpu in gpus}
        return found

    assert status("0") == 0
    assert status("1", "0", "3") == 3
    assert status("0", str(128 + signal.SIGUSR1), "143") == 128 + signal.SIGUSR1  # one has more to do


def test_signals_are_passed_on_to_processes_that_run_together(tmp_path: Path) -> None:
    """A notice first, then the request to end, of which each process tells."""
    program = (
        "import signal, sys, time\n"
        f"def note(number, frame):\n    open({str(tmp_path)!r} + '/told', 'a').write(f'{{number}}\\n')\n"
        "    if number == signal.SIGTERM: sys.exit(4)\n"
        "signal.signal(signal.SIGUSR1, note); signal.signal(signal.SIGTERM, note)\n"
        f"open({str(tmp_path)!r} + '/ready', 'a').write('ready\\n')\n"
        "while True: time.sleep(0.01)\n"
    )
    ready, told = tmp_path / "ready", tmp_path / "told"
    found: list[int] = []
    stop = StopFlag()
    command = [sys.executable, "-c", program]
    thread = threading.Thread(target=lambda: found.append(run_together(command, [{}, {}], stop)))
    thread.start()
    wait_for(lambda: ready.exists() and len(ready.read_text().split()) == 2)
    stop.signal = signal.SIGUSR1
    wait_for(lambda: told.exists() and told.read_text().split() == ["10", "10"])
    stop.signal = signal.SIGTERM
    thread.join(timeout=30)
    assert told.read_text().split() == ["10", "10", "15", "15"]
    assert found == [4]


def test_processes_that_run_together_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    read = [sys.executable, "-c", f"import sys; sys.stdin.read(); open({str(tmp_path / 'ended')!r}, 'a').write('x')"]
    program = (
        "from master.signals import StopFlag\nfrom worker.launch.local import run_together\n"
        f"run_together({read!r}, [{{}}, {{}}], StopFlag())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    time.sleep(0.5)
    process.kill()
    process.wait()
    wait_for(lambda: (tmp_path / "ended").exists() and (tmp_path / "ended").read_text() == "xx")
