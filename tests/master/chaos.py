"""A study of real processes to which bad things happen at random moments: python -m tests.master.chaos SEED... .

What happens, drawn with a seed: workers are killed, told to end, stopped and continued; the master is killed, told to
end and stopped for seconds (with it its name server's port answers nobody); the master's writes fail for seconds;
results are reported twice, from outside, before or after the worker's own report.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpbandster.core.result import logged_results_to_HBS_result

from master.jobs import trial_key
from master.protocol import COMMUNICATION_ERRORS, connect, dispatcher_name, name_server_uri
from master.security import become_member
from master.study import create_run
from results.bohb_lines import evaluation_to_info
from results.credentials import read_credentials
from results.master_status import Ending, read_status
from results.reading import read_journals
from results.records import Evaluation, Status, StudySpec, TrialResult, TrialSpec
from results.run_directory import RunDirectory
from results.trial_directory import OUTCOME

FOLDER = Path(__file__).parent
EVENTS = (
    "kill worker", "end worker", "stop worker", "continue workers", "kill master", "end master", "stop master",
    "fail writes", "double result",
)  # fmt: skip
#: Those that befall a master; none comes before the master has recorded something, or no study would get further.
OF_MASTER = frozenset({"kill master", "end master", "stop master", "fail writes"})


@dataclass
class Chaos:
    """A study under chaos.

    Attributes:
        run: Its run.
        n_workers: Number of worker processes; who dies is replaced.
        seed: Seed of the events.
        pause_s: Mean seconds between two events.
        events: Number of events of each kind so far.
        n_doubled: Number of outside reports that the master took, or refused as late.
    """

    run: RunDirectory
    n_workers: int
    seed: int
    pause_s: float = 0.5
    events: Counter[str] = field(default_factory=Counter)
    n_doubled: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._log = (self.run.path.parent / f"{self.run.path.name}.log").open("ab")
        self._workers = [self._start("worker_process.py", "formula") for _ in range(self.n_workers)]
        self._master = self._start("master_process.py")
        self._until: dict[str, float] = {}  # when a passing state ends
        self._coming: list[str] = []
        self._n_seen = 0

    def go(self, limit_s: float) -> None:
        """Lets things happen until the study has ended; raises ``TimeoutError`` after ``limit_s``."""
        deadline = time.monotonic() + limit_s
        try:
            while not self._has_ended():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no end in {limit_s:.0f} s; {dict(self.events)}")
                time.sleep(self._rng.uniform(0.0, 2 * self.pause_s))
                self._end_states()
                if not self._coming:
                    self._coming = self._rng.sample(EVENTS, len(EVENTS))
                event = self._coming.pop()
                if event in OF_MASTER and not self._has_progressed():
                    self._coming.insert(0, event)
                    event = self._rng.choice(["continue workers", "continue workers", "double result", "stop worker"])
                self.events[event] += 1
                getattr(self, "_" + event.replace(" ", "_"))()
        finally:
            for process in (*self._workers, self._master):
                process.kill()
                process.wait()
            self._log.close()

    def _has_progressed(self) -> bool:
        """Whether the master has recorded something since the last thing that happened to a master."""
        n_results = self.run.results_json.read_bytes().count(b"\n")
        if self._until or n_results <= self._n_seen:
            return False
        self._n_seen = n_results
        return True

    def _has_ended(self) -> bool:
        """Whether the study has finished; starts a new master if the last one has ended otherwise."""
        if self._master.poll() is None:
            return False
        status = read_status(self.run)
        if status is not None and status.ending is Ending.FINISHED:
            return True
        self._until.clear()
        self._master = self._start("master_process.py")
        return False

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(FOLDER / script), str(self.run.path), *arguments]
        environment = os.environ | {"PYTHONPATH": str(FOLDER.parents[1]), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)

    def _end_states(self) -> None:
        for state in [state for state, until in self._until.items() if time.monotonic() >= until]:
            del self._until[state]
            if state == "stop master":
                self._master.send_signal(signal.SIGCONT)
            else:
                self._limit_writes(resource.RLIM_INFINITY)

    def _replace(self, number: signal.Signals) -> None:
        slot = self._rng.randrange(self.n_workers)
        process = self._workers[slot]
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        process.wait(timeout=30)
        self._workers[slot] = self._start("worker_process.py", "formula")

    def _kill_worker(self) -> None:
        self._replace(signal.SIGKILL)

    def _end_worker(self) -> None:
        self._replace(signal.SIGTERM)

    def _stop_worker(self) -> None:
        self._rng.choice(self._workers).send_signal(signal.SIGSTOP)

    def _continue_workers(self) -> None:
        for process in self._workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        for slot, process in enumerate(self._workers):
            if process.poll() is not None:  # told to end with a master that was told to end
                self._workers[slot] = self._start("worker_process.py", "formula")

    def _kill_master(self) -> None:
        self._master.kill()
        self._master.wait()

    def _end_master(self) -> None:
        self._master.send_signal(signal.SIGTERM)

    def _stop_master(self) -> None:
        self._master.send_signal(signal.SIGSTOP)
        self._until["stop master"] = time.monotonic() + self._rng.uniform(0.5, 4.0)

    def _fail_writes(self) -> None:
        """Lets each write of the master fail behind the first bytes of any file, its log among them."""
        self._limit_writes(64)
        self._until["fail writes"] = time.monotonic() + self._rng.uniform(0.5, 3.0)

    def _limit_writes(self, n_bytes: int) -> None:
        if self._master.poll() is None:
            _, hard = resource.prlimit(self._master.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self._master.pid, resource.RLIMIT_FSIZE, (n_bytes, hard))

    def _double_result(self) -> None:
        """Reports a trial that has finished, under a ticket of its own; the worker's own report may be under way."""
        outcomes = sorted(self.run.trials.glob(f"*/*/{OUTCOME}"), key=lambda path: path.stat().st_mtime_ns)
        if not outcomes:
            return
        content = json.loads(self._rng.choice(outcomes[-8:]).read_bytes())
        trial = TrialSpec.from_dict(content["trial"], OUTCOME)
        info = evaluation_to_info(Evaluation.from_dict(content["evaluation"], OUTCOME))
        try:
            credentials = read_credentials(self.run)
            become_member(self.run.credentials / credentials.certificates)
            uri = name_server_uri(credentials.host, credentials.port)
            with connect(uri, timeout_s=1.0) as server:
                found = str(server.lookup(dispatcher_name(credentials.run_id)))
            with connect(found, timeout_s=1.0) as dispatcher:
                dispatcher.register_result(f"{trial_key(trial)}/chaos-{self.seed}", info)
            self.n_doubled += 1
        except (*COMMUNICATION_ERRORS, FileNotFoundError):
            pass


def formula(config: Any, budget: float) -> float:
    """The error of a configuration: lowest at a learning rate of 0.1, and lower at larger budgets."""
    return min(1.0, abs(float(config["learning_rate"]) - 0.1) + 1 / float(budget))


def study(path: Path, seed: int, n_workers: int, n_iterations: int) -> RunDirectory:
    """Creates the run of a study of the formula."""
    spec = StudySpec(
        run_id=path.name, optimizer="darts", search_space="1", config_space="cs2", dataset="digits", data_dir=None,
        table="digits", table_epochs=12, n_workers=n_workers, n_iterations=n_iterations, seed=seed,
    )  # fmt: skip
    return create_run(path, spec)


def losses(run: RunDirectory, schedule: dict[int, int]) -> list[str]:
    """Lists what was lost or came out otherwise than it should: nothing, one hopes."""
    journals = read_journals(run)
    results = list(journals.results)
    found = list(journals.left_out)
    if {r.evaluation.status for r in results} != {Status.OK}:
        found.append(f"statuses: {Counter(r.evaluation.status.value for r in results)}")
    if Counter(r.budget for r in results) != schedule:
        found.append(f"evaluations: {Counter(r.budget for r in results)}, expected {schedule}")
    found += [f"{key} {n} times" for key, n in Counter((r.config_id, r.budget) for r in results).items() if n > 1]
    found += [f"{r.config_id} at {r.budget}: another error" for r in results if r.evaluation.loss != _expected(r)]
    theirs = logged_results_to_HBS_result(str(run.path))
    if min(r.loss for r in theirs.get_all_runs()) != min(map(_expected, results)):
        found.append("hpbandster's reader finds another incumbent")
    if len(theirs.get_all_runs()) != len(results):
        found.append("hpbandster's reader finds another number of results")
    return found


def _expected(result: TrialResult) -> float:
    return formula(result.config, result.budget)


def main() -> None:
    """Runs the paper's schedule under chaos for each seed, and prints a line for each."""
    for seed in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            begun_s = time.monotonic()
            run = study(Path(folder) / "run", seed, n_workers=16, n_iterations=64)
            chaos = Chaos(run, n_workers=16, seed=seed)
            chaos.go(limit_s=900)
            lost = losses(run, {25: 88, 50: 86, 100: 106})
            n_late = len(run.late_jsonl.read_bytes().splitlines()) if run.late_jsonl.exists() else 0
            events = ", ".join(f"{n} {event}" for event, n in sorted(chaos.events.items()))
            print(
                f"seed {seed}: {time.monotonic() - begun_s:.0f} s; {events}; {chaos.n_doubled} doubled, {n_late} late; "
                f"lost: {lost or 'nothing'}",
                flush=True,
            )
            if lost:
                sys.exit(1)


if __name__ == "__main__":
    main()
