"""Who may import whom. The table is the architecture: a module that is not in it does not belong to the package."""
import ast, os, subprocess, sys
from typing import NamedTuple

import pytest
from conftest import ROOT


class Floor(NamedTuple):
    "Modules that may import whole floors below them, and of their own floor what `beside` says."
    modules: str
    below: str = "" # names of floors
    beside: dict = None # {module: modules of its floor}; None: any, as long as there is no circle


GROUND = "values networks"
CHEAP = f"{GROUND} inputs training distillers judging" # need torch, torchvision and NumPy alone
FLOORS = { # from the ground up; modules that are still to be written have their place already
    "values": Floor("keys core device progress checks", beside={"device": "core", "checks": "core"}),
    "inputs": Floor("decoding tables image_files layouts arrays data noise noise_files", "values",
                    beside={"image_files": "decoding tables", "data": "image_files", "arrays": "decoding layouts",
                            "layouts": "decoding tables image_files"}),
    "networks": Floor("fused fused_cpu networks derivatives augmentation", "values",
                      beside={"networks": "fused fused_cpu", "derivatives": "networks fused fused_cpu"}),
    "training": Floor("training robust unabsorb", GROUND),
    "distillers": Floor("trajectories matching datm dance implicit rcig coresets", f"{GROUND} training",
                        beside={**dict.fromkeys(["dance", "coresets"], "trajectories"), "rcig": "implicit",
                                "datm": "trajectories matching"}),
    "judging": Floor("evaluation", f"{GROUND} training"),
    "setting": Floor("methods setting store record experiment profiles exchange standalone", CHEAP),
    "evidence": Floor("results significance theory verdicts findings words answer figures theory_figures picture "
                      "report docs law tails unabsorbed privacy efficiency human beyond_figures beyond", "values",
                      beside={"theory": "results", "verdicts": "results significance theory",
                              "findings": "results significance theory",
                              "words": "results theory verdicts findings", "figures": "results words",
                              "theory_figures": "results theory verdicts findings words figures",
                              "answer": "results theory verdicts findings words",
                              "picture": "results words answer figures",
                              "report": "results words answer beyond", "tails": "results findings words",
                              "unabsorbed": "results theory findings words", "law": "findings words",
                              "efficiency": "results findings words", "human": "results theory findings words",
                              "beyond_figures": "results words figures law tails unabsorbed privacy efficiency human",
                              "beyond": "results verdicts findings words answer law tails unabsorbed privacy human "
                                        "efficiency",
                              "docs": "results theory verdicts words answer beyond report"}),
    "own_data": Floor("crossfit suspicion audit_report audit audit_evidence", f"{CHEAP} setting evidence"),
    "running": Floor("job engine bare tolerance verify metadata audit_command cli __main__",
                     f"{CHEAP} setting evidence own_data"),
}
ALONE = ["__init__", "_modidx"] # import nothing of ours
JOB_SIDE = ["job"] # starts with every notebook, so it imports nothing of ours


def may_import(name):
    "The modules that a module may import."
    if name in ALONE + JOB_SIDE:
        return set()
    [floor] = [floor for floor in FLOORS.values() if name in floor.modules.split()]
    below = [module for other in FLOORS if other in floor.below.split() for module in FLOORS[other].modules.split()]
    beside = floor.modules if floor.beside is None else floor.beside.get(name, "")
    return {*below, *beside.split()} - {name}


MODULES = {".".join(p.relative_to(ROOT/"dd_lnl").with_suffix("").parts): p for p in (ROOT/"dd_lnl").rglob("*.py")}


def ours(source):
    "The modules of dd_lnl that `source` imports, at the top or inside a function."
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(["dd_lnl"] * bool(node.level) + [node.module] * bool(node.module))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        modules |= {name.split(".")[1] for name in names if name.startswith("dd_lnl.")}
    return modules - {"__version__"}


def trespasses(name, source):
    "What module `name` imports of ours without being allowed to."
    return sorted(ours(source) - may_import(name))


def circles(imports):
    "The modules from which imports lead back to themselves; `imports` is {module: modules}."
    reached = {name: set(names) for name, names in imports.items()}
    for _ in imports:
        for name in reached:
            reached[name] |= {far for near in reached[name] for far in reached.get(near, ())}
    return sorted(name for name in reached if name in reached[name])


def test_every_module_has_one_place():
    placed = [name for floor in FLOORS.values() for name in floor.modules.split()] + ALONE
    assert len(placed) == len(set(placed)) and MODULES.keys() <= set(placed)


def test_floors_stand_on_lower_ones():
    order = list(FLOORS)
    for i, floor in enumerate(FLOORS.values()):
        assert set(floor.below.split()) <= set(order[:i])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_only_what_it_may(name): assert trespasses(name, MODULES[name].read_text()) == []


def test_there_is_no_circle():
    assert circles({name: ours(path.read_text()) for name, path in MODULES.items()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


@pytest.mark.parametrize("line", [
    "from .noise import corrupt", "from . import noise", "from dd_lnl.noise import corrupt", "from dd_lnl import noise",
    "import dd_lnl.noise", "import torch, dd_lnl.noise as n", "def f():\n    from .noise import corrupt"])
def test_trespasses_are_seen(line):
    assert trespasses("data", f"from .core import choose\nimport torch\n{line}") == ["noise"]


# Public names that two modules may define: what a floor shares is one signature (of distillers) or one role.
TWINS = {
    "distil": "a distiller's, and the stage that calls it", "pretrain": "likewise",
    "load": "data, and records", "main": "two commands",
    "SHARE": "of a thread's work, and of wrong labels: the keys hold the one, the hash of the frozen rules the other",
    **dict.fromkeys(["block_value", "block_jvp", "block_vjp", "block_vjp_dot", "convolve"], "the same, for a CPU"),
}


def public_names(source):
    "The functions, classes and constants that a module defines for others."
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def ambiguous(sources):
    "Names that two modules define, distillers apart; `sources` is {module: source}."
    owners = {}
    for module, source in sources.items():
        floor = "distillers" if module in FLOORS["distillers"].modules.split() else module
        for name in public_names(source) - TWINS.keys():
            owners.setdefault(name, set()).add(floor)
    return sorted(name for name, modules in owners.items() if len(modules) > 1)


def test_a_name_has_one_meaning():
    assert ambiguous({name: path.read_text() for name, path in MODULES.items() if name not in ALONE}) == []


def test_a_name_with_two_meanings_is_seen():
    sources = {"data": "def judge(): pass\nX = 1", "noise": "judge = 3\n_x = 1", "dance": "X2 = 1", "datm": "X2 = 2"}
    assert ambiguous(sources) == ["judge"]


# Imports each module named on the command line where only torch, torchvision, NumPy and what these need can be found.
BARE_IMPORT = """
import importlib, re, sys
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

packages, allowed, todo = packages_distributions(), {"dd-lnl"}, ["torch", "torchvision", "numpy"]
while todo:
    name = canonicalize_name(todo.pop())
    if name in allowed:
        continue
    allowed.add(name)
    needed = map(Requirement, requires(name) or [])
    todo += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
for module in [m for m in sys.modules if m.split(".")[0] == "packaging"]:
    del sys.modules[module]
for module, owners in packages.items():
    if not allowed & {canonicalize_name(o) for o in owners}:
        sys.modules.setdefault(module, None)
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def bare_import(*modules, path=ROOT):
    "Standard error of importing `modules` without any third-party package but torch, torchvision and NumPy."
    ended = subprocess.run([sys.executable, "-c", BARE_IMPORT, *modules], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(path)})
    return ended.stderr if ended.returncode else ""


def test_methods_need_torch_torchvision_and_numpy_only():
    names = [name for floor in CHEAP.split() for name in FLOORS[floor].modules.split() if name in MODULES]
    assert len(names) > 10 and bare_import(*(f"dd_lnl.{name}" for name in names)) == ""


@pytest.mark.parametrize("package", ["pandas", "tqdm"])
def test_other_packages_are_seen(package, tmp_path):
    (tmp_path/"greedy.py").write_text(f"import {package}")
    assert f"import of {package} halted" in bare_import("greedy", path=tmp_path)
