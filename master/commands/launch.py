"""The command ``run_bohb.py launch``."""

# No `from __future__ import annotations` here: the command line is derived from evaluated annotations.
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from master.commands.study import StudyOptions

#: Folder of the scripts and of the jobs' output, in the run's directory.
_FOLDER = "slurm"
#: Text of an option for none.
_NONE = "none"


@dataclass(frozen=True)
class Launch(StudyOptions):
    """Write and submit the jobs of a study: its master, and an array of workers. So far, Slurm is the only scheduler.

    The study is checked and its directory created here, so a job fails for no mistake in it. The jobs requeue
    themselves before their limit, until the study has ended. The defaults are the paper's study, with a GPU for each
    worker.

    Attributes:
        slurm: Submit to Slurm.
        dry_run: Print the scripts, and write and submit nothing.
        walltime_h: Limit of each job in hours; the jobs requeue themselves before.
        partition: Partition of the jobs; by default Slurm's.
        account: Account of the jobs; by default Slurm's.
        gres: Generic resources of each worker's job, as gpu:1 or gpu:a100:4, or none. A job with several GPUs has a
            worker process for each.
        workers_per_gpu: Number of worker processes on each GPU.
        cpus: Processors of each worker's job.
        memory: Memory of each worker's job.
    """

    slurm: bool = False
    dry_run: bool = False
    walltime_h: float = 24.0
    partition: str | None = None
    account: str | None = None
    gres: str = "gpu:1"
    workers_per_gpu: int = 1
    cpus: int = 4
    memory: str = "16G"
    worker_sbatch: Annotated[
        tuple[str, ...], Doc("Further options of sbatch for the workers, without dashes: qos=long exclude=n[1-3].")
    ] = ()
    master_sbatch: Annotated[
        tuple[str, ...], Doc("Further options of sbatch for the master, without dashes: partition=cpu time=7-0 mem=8G.")
    ] = ()

    def run(self) -> int:
        """Writes the scripts, submits them, and says how to follow them."""
        from master.commands.opening import checked_study, open_run
        from master.commands.simulate import print_plan
        from master.ports import Ports
        from master.progress import say

        self._check()
        Ports.parse(self.port_range, self.nat_host)
        path, spec = checked_study(self)
        if self.plan is not None:
            print_plan(spec, self.plan)
            return 0
        scripts = self._scripts(path.absolute(), spec.run_id, spec.n_workers)
        if self.dry_run:
            for name, text in scripts.items():
                print(f"# {path / _FOLDER / name}\n{text}")
            return 0
        folder = open_run(self, path, spec).path / _FOLDER
        folder.mkdir(exist_ok=True)
        for name, text in scripts.items():
            (folder / name).write_text(text)
        master, workers = (folder / name for name in scripts)
        job, array = _submit(master, workers)
        say(
            f"Submitted: master {job}, workers {array}; their output is in {path / _FOLDER}\n"
            f"  run_bohb.py status {path} --watch   shows what the study does\n"
            f"  scancel {job} {array}   ends it; `launch --slurm --resume {path}` goes on with it"
        )
        return 0

    def _check(self) -> None:
        """Raises ValueError for options that make no job."""
        from worker.launch.slurm import MIN_WALLTIME_H

        if not self.slurm:
            raise ValueError("--slurm: expected the option, because Slurm is the only scheduler so far; give it")
        if not MIN_WALLTIME_H <= self.walltime_h < math.inf:
            raise ValueError(f"--walltime-h: got {self.walltime_h}, expected hours from {MIN_WALLTIME_H:.3f} up")
        if self.walltime_h <= self.limit_h < math.inf:
            raise ValueError(
                f"--limit-h: got {self.limit_h:g}, expected less than --walltime-h, {self.walltime_h:g}, because each "
                "start of the master counts anew; or limit the study by --limit-evaluations or --limit-epochs"
            )
        for option, value in (("--workers-per-gpu", self.workers_per_gpu), ("--cpus", self.cpus)):
            if value < 1:
                raise ValueError(f"{option}: got {value}, expected at least 1")
        if any(line.lstrip("-").partition("=")[0] in ("time", "array") for line in self.worker_sbatch):
            raise ValueError("--worker-sbatch: got a limit of time or an array, expected --walltime-h and --workers")

    def _scripts(self, path: Path, name: str, n_workers: int) -> dict[str, str]:
        """Makes the scripts of the jobs, by the names of their files: the master's, then the workers'."""
        from worker.launch.local import own_command
        from worker.launch.slurm import SlurmSettings, master_script, worker_script

        settings = SlurmSettings(
            name=name,
            logs=path / _FOLDER,
            walltime_h=self.walltime_h,
            partition=self.partition,
            account=self.account,
            gres=None if self.gres == _NONE else self.gres,
            cpus=self.cpus,
            memory=self.memory,
            worker_lines=self.worker_sbatch,
            master_lines=self.master_sbatch,
        )
        master = own_command("master", "--resume", path, "--requeue", *self._master_options())
        worker = own_command("worker", path, "--walltime-h", f"{settings.process_walltime_h:.4f}", "--requeue")
        if settings.n_gpus == 0 and self.workers_per_gpu > 1:
            raise ValueError(f"--workers-per-gpu: got {self.workers_per_gpu}, but --gres {self.gres} has no GPU")
        if self.port_range is not None:
            worker += ["--port-range", self.port_range]
        n_per_job = max(settings.n_gpus, 1) * self.workers_per_gpu
        if n_per_job > 1:
            worker += ["--gpus", "all", "--workers-per-gpu", str(self.workers_per_gpu)]
        return {
            "master.sh": master_script(settings, master),
            "worker.sh": worker_script(settings, worker, math.ceil(n_workers / n_per_job)),
        }

    def _master_options(self) -> list[str]:
        """The options that belong to the master, not to the study, where they are not the defaults."""
        from master.commands.opening import OF_THE_MASTER

        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name in OF_THE_MASTER}
        defaults = StudyOptions()
        return [
            text
            for name, value in given.items()
            if value != getattr(defaults, name)
            for text in (f"--{name.replace('_', '-')}", str(value))
        ]


def _submit(master: Path, workers: Path) -> tuple[str, str]:
    """Submits both scripts, or none; returns the numbers of their jobs.

    Raises:
        ValueError: Slurm refuses one of them.
    """
    from worker.launch.slurm import cancel, submit

    again = f"then go on by `launch --slurm --resume {master.parents[1]}`"
    try:
        job = submit(master)
    except ValueError as error:
        raise ValueError(f"{error}; {again}") from error
    try:
        return job, submit(workers, after=job)
    except ValueError as error:
        cancel(job)
        raise ValueError(f"{error}; the master's job, {job}, is taken back; {again}") from error
