"""nasbohb: tune one-shot neural architecture search with BOHB, on NAS-Bench-101's search spaces.

The command line: it parses, wires the packages together, and exits.  Exit status: 0 where all went well, 2 for
input that cannot be used (one line says why), 1 where a study or a search failed, 130 on Ctrl-C.

Each command stands in ``commands.py`` of its package, which imports what it needs when it runs.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

#: Command -> one line for the overview, and the class of its options (or a mapping of further commands).
COMMANDS: dict[str, tuple[str, str]] = {
    "study": ("a whole tuning study on this machine, in one command", "master.commands.study:Study"),
    "master": ("the BOHB master of a study on a cluster", "master.commands.study:Master"),
    "launch": ("such a master and an array of workers, as jobs of Slurm", "master.commands.launch:Launch"),
    "simulate": (
        "what a recorded study would have taken with other numbers of workers",
        "master.commands.simulate:Simulate",
    ),
    "import": ("a run made of a log of hpbandster", "master.commands.importing:Import"),
    "status": ("what a study does, while it runs and afterwards", "master.commands.status:StatusCommand"),
    "doctor": ("whether a study can run on this machine, and what to do about it", "master.commands.doctor:Doctor"),
    "worker": ("one worker of such a study", "worker.commands:Worker"),
    "analyze": (
        "incumbents, comparison with the default configuration, plots of a run",
        "analysis.commands:Analyze",
    ),
    "compare": (
        "tuned optimizers over seeds, beside their defaults and black-box baselines",
        "analysis.commands:Compare",
    ),
    "importance": (
        "which hyperparameters and pairs of them make the loss of a run vary (fANOVA)",
        "analysis.commands:Importance",
    ),
    "export": (
        "evaluations of runs as CSV, Parquet, LaTeX tables, or a journal of Optuna",
        "analysis.commands:Export",
    ),
    "search": ("one architecture search by itself", "nas.oneshot.commands:Search"),
    "evaluate": (
        "architectures with the shared weights of a search, and the rank correlation",
        "nas.oneshot.commands:Evaluate",
    ),
    "table": (
        "import, download, info, query, measure: tables of stand-alone results",
        "nas.tabular.commands:COMMANDS",
    ),
    "baselines": (
        "black-box baselines on a table: random search, regularized evolution, REINFORCE, ...",
        "nas.blackbox.commands:Baselines",
    ),
    "spaces": ("the sizes of the search spaces, computed and in the paper", "spaces.commands:Spaces"),
}

PROGRAM = "nasbohb" if Path(sys.argv[0]).stem == "nasbohb" else "run_bohb.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; see the module for the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"nasbohb {version('nasbohb')}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"{PROGRAM}: got command {name!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    # PyTorch's threads otherwise spin while they wait for each other: beside other work a search took ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("nasbohb").setLevel(logging.INFO)
    for library in ("hpbandster", "Pyro4"):  # what they have to say, the master and the workers say
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        return _run(name, rest)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1  # whoever read the output has gone
    except (ValueError, OSError) as error:
        if os.environ.get("NASBOHB_TRACEBACK"):
            raise
        print(f"{PROGRAM}: {_message(error)}", file=sys.stderr)
        return 2
    finally:
        _drop_what_nobody_reads()


def _run(name: str, arguments: Sequence[str]) -> int:
    """Parses the options of a command and runs it."""
    import tyro

    line, place = COMMANDS[name]
    command = pkgutil.resolve_name(place)
    prog = f"{PROGRAM} {name}"
    if isinstance(command, dict):
        options = tyro.extras.subcommand_cli_from_dict(command, prog=prog, description=line, args=arguments)
    else:
        options = tyro.cli(command, prog=prog, args=arguments)
    status: int = options.run()
    return status


def _drop_what_nobody_reads() -> None:
    """Keeps Python from failing at its end over output that cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:
            pass  # it is closed


def _message(error: ValueError | OSError) -> str:
    """The error in a sentence; the system's own errors have a number and no verb."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def _overview() -> str:
    assert __doc__ is not None
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [options]      ({PROGRAM} COMMAND --help explains each)",
            "",
            __doc__.partition("\n")[0],
            "",
            *(f"  {name:<12}{line}" for name, (line, _) in COMMANDS.items()),
            "",
            f"Start with `{PROGRAM} study`: a real study in minutes, with nothing to download.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
