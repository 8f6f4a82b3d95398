"""One set of dependencies: settings.ini asks, requirements.lock answers, environment.yml and this Python follow."""
import platform, re
from importlib.metadata import version

import pytest, yaml
from conftest import ROOT
from nbdev.config import get_config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

SETTINGS, LOCK = get_config(path=ROOT), (ROOT/"requirements.lock").read_text()
REQUIRED = [Requirement(r) for r in f"{SETTINGS.requirements} {SETTINGS.dev_requirements}".split()]
CONDA = yaml.safe_load((ROOT/"environment.yml").read_text())["dependencies"]


def pins(lock, python):
    "The version of each package that the lock holds for one version of Python on this kind of machine."
    lines = [Requirement(line) for line in re.findall(r"^(\w.*?) *\\?$", lock, re.M)]
    here = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    return {canonicalize_name(r.name): Version(str(r.specifier).removeprefix("=="))
            for r in lines if not r.marker or r.marker.evaluate(here)}


def unmet(lock, python):
    "The requirements of settings.ini that the lock does not meet."
    pinned = pins(lock, python)
    met = lambda r: (name := canonicalize_name(r.name)) in pinned and pinned[name] in r.specifier
    return [str(r) for r in REQUIRED if not met(r)]


@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0"])
def test_the_lock_meets_the_settings(python): assert unmet(LOCK, python) == []


@pytest.mark.parametrize("broken", [
    re.sub(r"^fastcore==1", "fastcore==2", LOCK, flags=re.M), # another version
    re.sub(r"^fastcore==.*", "", LOCK, flags=re.M), # absent
    re.sub(r"^(fastcore==\S+)", r"\1 ; python_version < '3.12'", LOCK, flags=re.M)]) # not for this Python
def test_a_changed_lock_is_seen(broken): assert unmet(broken, "3.12.0") == ["fastcore<2"]


def test_what_is_installed_is_what_is_locked():
    locked = pins(LOCK, platform.python_version())
    assert locked and {name: version(name) for name in locked} == {name: str(v) for name, v in locked.items()}


def test_the_lock_names_no_address(): assert "//" not in LOCK


def test_conda_leads_to_the_same_lock():
    python = next(d.split("=")[1] for d in CONDA if str(d).startswith("python="))
    assert Version(python) >= Version(SETTINGS.min_python)
    assert CONDA[1:] == ["pip", {"pip": ["-r requirements.lock"]}]
