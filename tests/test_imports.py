"""The architecture is its imports: the sources are parsed and held against the tables below.

Each part may import itself and what stands beside it. A heavy or remote library is imported by its owners
alone, and nothing that loads one is imported at the top of a module that does not.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
EVERYTHING = frozenset({"spaces", "results", "nas", "worker", "master", "analysis"})

#: How files are written, and the records of epochs and of one-shot errors, which searches write and others read.
FILES = frozenset({f"results.{name}" for name in ("atomic_file", "journal", "record_base", "epoch", "one_shot_errors")})
#: What each part below ``nas`` may import from outside of it, and the one module that they share.
FOR_NAS = FILES | {"spaces", "nas.cache"}

#: The packages' commands wire them together: all of them inside functions; for their help, registries at the top.
COMMANDS = frozenset(f"{package}.commands" for package in ("spaces", "worker", "master", "analysis"))
REGISTRIES = frozenset(
    {"spaces", "nas.datasets.DATASETS", "nas.oneshot.METHODS", "nas.tabular.TABLES", "master.samplers.SAMPLERS"}
)

#: Part -> the parts it may import besides itself. The longest matching part of a module counts, and the
#: module ``nas`` itself belongs to no other part.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "spaces": frozenset(),
    "results": frozenset(),
    "nas": FOR_NAS,
    "nas.datasets": FOR_NAS,
    "nas.tabular": FOR_NAS | {"nas.datasets"},
    "nas.oneshot": FOR_NAS | {"nas.tabular", "nas.datasets"},
    # What `evaluate` prints is the figure's number.
    "nas.oneshot.commands": FOR_NAS | {"nas.oneshot", "nas.tabular", "nas.datasets", "analysis.correlation"},
    "nas.blackbox": FOR_NAS
    | {"nas.tabular", "nas.datasets", "master.tuner", "master.brackets", "master.samplers"}
    | {"results.records", "results.incumbents"},  # what the tuner is told and a sampler proposes; who leads
    # Of the master: the wire and its security, the server, and the signals.
    "worker": frozenset({"nas", "spaces", "results"})
    | {f"master.{name}" for name in ("protocol", "remote_call", "security", "daemon", "ports", "signals")},
    "master": frozenset({"spaces", "results"}),
    "analysis": frozenset({"results", "spaces", "nas.tabular"}),
    "run_bohb": EVERYTHING,
    **dict.fromkeys(COMMANDS, EVERYTHING),
}

#: What trains, and so loads torch when it is imported: the searches and the measuring of tables. Others import
#: it inside the function that needs it.
LOADS_TORCH = frozenset(
    {
        "nas.oneshot.model",
        *(f"nas.oneshot.methods.{path.stem}" for path in (ROOT / "nas" / "oneshot" / "methods").glob("[!_]*.py")),
        *(
            f"nas.oneshot.{name}"
            for name in (
                "ahead",
                "checkpoint",
                "data",
                "graph",
                "loop",
                "randomness",
                "resolve",
                "search",
                "shared_weights",
                "steps",
                "threads",
            )
        ),
        *(f"nas.tabular.measured.{name}" for name in ("measure", "network", "training")),
    }
)

#: Library -> the modules and packages that may import it, anywhere in them.
OWNERS: dict[str, frozenset[str]] = {
    "torch": LOADS_TORCH,
    "torchvision": frozenset(),
    "tensorflow": frozenset(),
    # What decides knows nothing of a network; hpbandster, whose successive halving the tuner holds, loads Pyro4 itself.
    "Pyro4": frozenset(
        {"worker", *(f"master.{name}" for name in ("protocol", "remote_call", "security", "daemon", "dispatcher"))}
    ),
    "cryptography": frozenset({"master.certificates"}),
    "hpbandster": frozenset({"worker", "master.tuner"}),
    "matplotlib": frozenset({"analysis.figures"}),
    "optuna": frozenset({"nas.blackbox.tpe", "analysis.export.optuna_journal"}),
    "pandas": frozenset({"analysis.export.evaluations"}),
    "pyarrow": frozenset({"analysis.export.evaluations"}),
    "smac": frozenset({"nas.blackbox.smac"}),
    # Nothing is written as a pickle; these two read foreign files: CIFAR-10's standard layout, and a damaged
    # checkpoint, for which torch raises pickle's error.
    "pickle": frozenset({"nas.datasets.cifar10", "nas.oneshot.checkpoint"}),
}


@dataclass(frozen=True)
class Import:
    """An import in a source file.

    Attributes:
        importer: The module that imports, e.g. ``nas.oneshot.methods.darts``.
        line: Where.
        target: The dotted name that is imported, with the imported name where it may be a module.
        is_lazy: Whether it happens when a function is called, or for type checkers alone, and not when the
            importer is loaded.
    """

    importer: str
    line: int
    target: str
    is_lazy: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.target}"


def imports_of(source: str, importer: str) -> Iterator[Import]:
    """Every import in a module's source."""
    yield from _imports_in(ast.parse(source), importer, is_lazy=False)


def _imports_in(node: ast.AST, importer: str, is_lazy: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(importer, node.lineno, alias.name, is_lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            yield Import(importer, node.lineno, "." * node.level + (node.module or ""), is_lazy)
        else:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (Import(importer, node.lineno, name, is_lazy) for name in names)
    elif isinstance(node, ast.Call) and _dynamic_target(node) is not None:
        yield Import(importer, node.lineno, _dynamic_target(node) or "", is_lazy)
    elif isinstance(node, ast.Constant) and _is_place(node.value):
        yield Import(importer, node.lineno, str(node.value).replace(":", "."), is_lazy=True)
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.body:
            yield from _imports_in(child, importer, is_lazy=True)
        for child in node.orelse:
            yield from _imports_in(child, importer, is_lazy)
        return
    is_lazy = is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _imports_in(child, importer, is_lazy)


def _dynamic_target(call: ast.Call) -> str | None:
    """The name that ``importlib.import_module("...")`` or ``__import__("...")`` loads."""
    if ast.unparse(call.func) not in ("importlib.import_module", "import_module", "__import__") or not call.args:
        return None
    argument = call.args[0]
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    return f"a computed name, {ast.unparse(argument)}"


def _is_place(value: object) -> bool:
    """Whether a constant names what a registry loads later, as ``"package.module:Name"``."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.]+:\w+", value):
        return False
    return part_of(value.partition(":")[0]) is not None


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def part_of(module: str) -> str | None:
    """The most specific part of the project that a module belongs to; None outside of the project."""
    parts = [part for part in MAY_IMPORT if is_in(module, part)]
    return max(parts, key=len) if parts else None


def violations(found: Import) -> Iterator[str]:
    """What the tables have against an import."""
    if found.target.startswith(".") or found.target.startswith("a computed name"):
        yield f"{found}: expected an absolute import of a name that can be read"
        return
    importer_part, target_part = part_of(found.importer), part_of(found.target)
    assert importer_part is not None
    if target_part is not None and target_part != importer_part:
        allowed = MAY_IMPORT[importer_part]
        if not any(is_in(found.target, part) for part in allowed):
            yield f"{found}: expected only {sorted(allowed)} in {importer_part}"
    for library, owners in OWNERS.items():
        if is_in(found.target, library) and not any(is_in(found.importer, owner) for owner in owners):
            yield f"{found}: expected it only in {sorted(owners)}"
    loads_torch = any(is_in(found.target, module) for module in LOADS_TORCH)
    is_owner = any(is_in(found.importer, module) for module in LOADS_TORCH)
    if loads_torch and not is_owner and not found.is_lazy:
        yield f"{found}: expected it inside the function that needs it, as it loads torch"
    is_wiring = importer_part in COMMANDS | {"run_bohb"} and target_part not in (None, importer_part)
    is_registry = importer_part in COMMANDS and any(is_in(found.target, registry) for registry in REGISTRIES)
    if is_wiring and not found.is_lazy and not is_registry:
        yield f"{found}: expected it inside the command that needs it, so that --help is quick"


def project_files() -> list[Path]:
    packages = [package for package in sorted(EVERYTHING) for _ in (ROOT / package).glob("__init__.py")]
    files = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return files + [path for path in [ROOT / "run_bohb.py"] if path.exists()]


def module_name(path: Path) -> str:
    parts = PurePosixPath(path.relative_to(ROOT).as_posix()).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_part_is_looked_at() -> None:
    parts = {part_of(module_name(path)) for path in project_files()}
    assert {"spaces", "results", "nas.datasets", "nas.tabular", "nas.oneshot", "worker", "master", "analysis"} <= parts


@pytest.mark.parametrize("path", project_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_keep_to_the_tables(path: Path) -> None:
    found = imports_of(path.read_text(), module_name(path))
    assert [message for each in found for message in violations(each)] == []


@pytest.mark.parametrize(
    ("importer", "source", "n_violations"),
    [
        ("spaces.cell", "import numpy as np\nfrom spaces.cell import Cell", 0),
        ("spaces.cell", "from results.records import Status", 1),
        ("results.reading", "import spaces", 1),
        ("nas.oneshot.methods.darts", "import torch\nfrom torch import nn\nfrom nas.tabular.table import Table", 0),
        ("nas.oneshot.methods.darts", "from results.records import Status", 1),
        ("nas.oneshot.methods.darts", "from results.epoch import EpochRecord\nfrom results.journal import append", 0),
        ("nas.oneshot.methods.darts", "from nas.blackbox.re import Evolution", 1),
        ("nas.tabular.table", "def f():\n    import torch", 1),
        ("nas.tabular.table", "def f():\n    from nas.tabular.measured.measure import measure", 0),
        ("nas.tabular.table", "from nas.tabular.measured.measure import measure", 1),
        ("nas.tabular.table", "from nas.tabular.measured import measure", 1),
        ("nas.tabular.table", "from nas.datasets import DatasetId\nfrom results import journal", 0),
        ("nas.tabular.table", "from results.records import Status", 1),
        ("nas.datasets.digits", "from nas.tabular.table import Table", 1),
        ("nas.datasets.digits", "import torch", 1),
        ("nas.oneshot.data", "from nas.datasets import load_dataset\nfrom nas.cache import cache_folder", 0),
        ("nas.tabular.table", "from nas.oneshot.search import run_search", 2),
        ("nas.tabular.measured.measure", "import torch\nfrom nas.tabular.measured.network import Network", 0),
        ("nas.blackbox.bohb", "from master.brackets import ladder", 0),
        ("nas.blackbox.bohb", "from master.tuner import Tuner\nfrom master.samplers.kde import KdeSampler", 0),
        ("nas.blackbox.bohb", "from master.study import run_master", 1),
        ("nas.blackbox.bohb", "from worker.objective import evaluate", 1),
        ("worker.objective", "def f():\n    from nas.oneshot.search import run_search", 0),
        ("worker.objective", "from nas.oneshot.search import run_search", 1),
        ("worker.objective", "from master.study import run_master", 1),
        ("worker.service", "from master.protocol import connect", 0),
        ("master.dispatcher", "import Pyro4", 0),
        ("master.tuner", "from hpbandster.optimizers.iterations import SuccessiveHalving", 0),
        ("master.tuner", "import Pyro4", 1),
        ("master.pool", "import Pyro4\nimport hpbandster.core.dispatcher", 2),
        ("master.samplers.kde", "import Pyro4", 1),
        ("master.study", "from nas.tabular.table import Table", 1),
        ("analysis.report", "from nas.tabular.table import Table\nfrom results.reading import read_results", 0),
        ("analysis.report", "from matplotlib.figure import Figure", 1),
        ("analysis.report", "from master.samplers.kde import KdeSampler", 1),
        ("analysis.figures.trajectory", "from matplotlib.figure import Figure", 0),
        ("results.journal", "import importlib\nimportlib.import_module('torch')", 1),
        ("results.journal", "import importlib\nname = 'a'\nimportlib.import_module(name)", 1),
        ("results.journal", "import pickle", 1),
        ("results.journal", "from . import records", 1),
        ("results.reading", "if TYPE_CHECKING:\n    from analysis.report import Report", 1),
        ("spaces.cell", "PLACES = {'a': 'nas.oneshot.methods.darts:Darts'}", 1),
        ("nas.oneshot.methods", "METHODS = {'darts': 'nas.oneshot.methods.darts:Darts'}", 0),
        ("nas.oneshot.methods", "from nas.oneshot.methods.darts import Darts", 1),
        ("nas.oneshot.spec", "from nas.oneshot.methods import METHODS", 0),
        ("nas.oneshot.commands", "from nas.oneshot.search import run_search", 1),
        ("run_bohb", "COMMANDS = {'search': 'nas.oneshot.commands:Search', 'time': '12:30'}", 0),
        ("run_bohb", "import tyro\ndef study():\n    from master.study import run_master", 0),
        ("run_bohb", "from master.study import run_master", 1),
        ("master.commands", "from nas.oneshot import METHODS\ndef f():\n    from worker.study import check_study", 0),
        ("master.commands", "from worker.study import check_study", 1),
    ],
)
def test_the_rules_themselves(importer: str, source: str, n_violations: int) -> None:
    found = [message for each in imports_of(source, importer) for message in violations(each)]
    assert len(found) == n_violations, found


def test_third_party_owners_are_no_part_of_the_standard_library_by_mistake() -> None:
    assert {name for name in OWNERS if name in sys.stdlib_module_names} == {"pickle"}
