"""Who may import whom. The table is the architecture: a module that is not in it does not belong to the package."""
import ast, os, subprocess, sys

import pytest
from conftest import ROOT

BASE = ["core", "device", "networks", "derivatives", "augmentation", "training"]
METHODS = ["trajectories", "datm", "dance", "rcig", "coresets"]
BELOW = [*BASE, "data", "noise", *METHODS, "evaluation"] # what an experiment stands on; cheap to import
MAY_IMPORT = {
    "core": [], "device": ["core"], "fused": [], "data": BASE[:2], "noise": ["core"], "networks": [*BASE[:2], "fused"],
    "derivatives": BASE[:3], "augmentation": BASE[:2], "training": BASE[:5], "trajectories": BASE,
    **{method: [*BASE, "trajectories"] for method in METHODS[1:]},
    "evaluation": BASE, "engine": [], "experiment": [*BELOW, "engine", "__version__"], "profiles": [*BELOW, "experiment"],
    "exchange": [*BELOW, "experiment"], "adoption": ["core", "experiment"], "bare": [*BELOW, "experiment", "profiles"],
    "results": ["core"], "figures": ["core", "results"], "theory": ["core", "results"], "verdicts": ["core", "results", "theory"],
    "report": ["core", "results"],
    "cli": [*BELOW, "experiment", "engine", "adoption", "exchange", "bare", "profiles", "report"],
    "__main__": ["cli"], "__init__": [], "_modidx": [],
}
MODULES = {".".join(p.relative_to(ROOT/"dd_lnl").with_suffix("").parts): p for p in (ROOT/"dd_lnl").rglob("*.py")}


def ours(source):
    "The modules of dd_lnl that `source` imports, at the top or inside a function."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(["dd_lnl"] * bool(node.level) + [node.module] * bool(node.module))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else: continue
        found |= {name.split(".")[1] for name in names if name.startswith("dd_lnl.")}
    return found


def trespasses(name, source):
    "What module `name` imports of ours without being allowed to."
    return sorted(ours(source) - set(MAY_IMPORT[name]))


def test_every_module_is_in_the_table(): assert MODULES.keys() <= MAY_IMPORT.keys()


@pytest.mark.parametrize("name", sorted(MODULES.keys() & MAY_IMPORT.keys()))
def test_imports_only_what_it_may(name): assert trespasses(name, MODULES[name].read_text()) == []


@pytest.mark.parametrize("line", [
    "from .noise import corrupt", "from . import noise", "from dd_lnl.noise import corrupt", "from dd_lnl import noise",
    "import dd_lnl.noise", "import torch, dd_lnl.noise as n", "def f():\n    from .noise import corrupt"])
def test_trespasses_are_seen(line):
    assert trespasses("data", f"from .core import choose\nimport torch\n{line}") == ["noise"]


# Imports each module named on the command line where only torch, torchvision, NumPy and what these need can be found.
BARE_IMPORT = """
import importlib, re, sys
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

packages, allowed, todo = packages_distributions(), {"dd-lnl"}, ["torch", "torchvision", "numpy"]
while todo:
    name = canonicalize_name(todo.pop())
    if name in allowed: continue
    allowed.add(name)
    needed = map(Requirement, requires(name) or [])
    todo += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
for module in [m for m in sys.modules if m.split(".")[0] == "packaging"]: del sys.modules[module]
for module, owners in packages.items():
    if not allowed & {canonicalize_name(o) for o in owners}: sys.modules.setdefault(module, None)
for module in sys.argv[1:]: importlib.import_module(module)
"""


def bare_import(*modules, path=ROOT):
    "Standard error of importing `modules` without any third-party package but torch, torchvision and NumPy."
    done = subprocess.run([sys.executable, "-c", BARE_IMPORT, *modules], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(path)})
    return done.stderr if done.returncode else ""


def test_methods_need_torch_torchvision_and_numpy_only():
    assert bare_import(*(f"dd_lnl.{name}" for name in BELOW if name in MODULES)) == ""


@pytest.mark.parametrize("package", ["pandas", "tqdm"])
def test_other_packages_are_seen(package, tmp_path):
    (tmp_path/"greedy.py").write_text(f"import {package}")
    assert f"import of {package} halted" in bare_import("greedy", path=tmp_path)
