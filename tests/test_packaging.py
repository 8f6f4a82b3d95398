"""A built wheel works without the repository: it brings the notebooks that its commands execute."""
import os, re, shutil, subprocess, sys, time, venv, zipfile
from pathlib import Path

import pytest
from conftest import ROOT

SOURCES = ["settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "Snakefile", "dd_lnl",
           "nbs/experiments"]
RANDOM = ["--distiller=random", "--protocol=dance", "--ipcs=1", "--n-eval=1"]
TINY = """[[settings]]
dataset = "digits"
noise = "sym"
tau = [0.0, 0.4]
distiller = "dance"
controls = ["random"]
ipcs = [1]
n_eval = 1
changes = {iterations = 4, n_experts = 1, expert = {epochs = 1}}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "The wheel that is built from a copy of what is committed."
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        (source/name).parent.mkdir(exist_ok=True)
        if (ROOT/name).is_dir():
            shutil.copytree(ROOT/name, source/name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else:
            shutil.copy(ROOT/name, source/name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", folder, source], check=True)
    [path] = folder.iterdir()
    return path


def without_repository(**more):
    "The environment variables, without what leads to the repository's package."
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def test_it_ships_what_its_commands_execute(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("dd_lnl/notebooks/")}
    assert shipped == {"Snakefile"} | {path.name for path in (ROOT/"nbs/experiments").glob("*.ipynb")}
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    assert "dd_lnl = dd_lnl.cli:main" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_extras_are_no_requirements(wheel):
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("METADATA")]
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*(?:; extra == .(\w+).)?$",
                          zipfile.ZipFile(wheel).read(metadata).decode(), re.M)
    extras = {extra: {name for name, other in required if other == extra} for _, extra in required}
    assert extras["lab"] == {"jupyterlab"} and extras["report"] == {"sphinx", "myst-nb", "latex2mathml"}
    assert "pytest" in extras["dev"]
    assert {"papermill", "ipykernel", "snakemake", "psutil"} <= extras[""]
    assert not extras[""] & {"jupyterlab", "sphinx", "myst-nb", "latex2mathml"}


def test_an_installed_wheel_runs_a_setting(wheel, tmp_path):
    "The other packages are those of this Python, but the package and its notebooks are those of the wheel."
    place, empty = tmp_path/"installed", tmp_path/"empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place]
    subprocess.run([*install, wheel], check=True, env=without_repository())
    def python(*command):
        return subprocess.run([sys.executable, *command], cwd=empty, env=without_repository(PYTHONPATH=str(place)),
                              capture_output=True, text=True)
    where = python("-c", "from dd_lnl import engine; print(engine.__file__, engine.shipped('Snakefile'))")
    assert [Path(path).is_relative_to(place) for path in where.stdout.split()] == [True, True], where.stderr
    ended = python("-m", "dd_lnl", "run", *RANDOM)
    assert ended.returncode == 0 and "digits_sym0.4_random_dance_ipc1_seed0: " in ended.stdout, ended.stderr
    assert (empty/"outputs/trial/notebooks/digits_sym0.4_random_dance_seed0.ipynb").exists()


@pytest.fixture(scope="module")
def new_environment(wheel, tmp_path_factory):
    "A command from a new environment: nothing but the wheel and what it requires, at the locked versions."
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder/"venv", with_pip=True)
    pins = re.findall(r"^(\w.*?) *\\?$", (ROOT/"requirements.lock").read_text(), re.M) # without the hashes
    (folder/"pins.txt").write_text("\n".join(pins))
    pip = [folder/"venv/bin/python", "-m", "pip", "install", "--quiet", "--constraint", folder/"pins.txt"]
    subprocess.run([*pip, wheel], check=True, env=without_repository())
    def dd_lnl(place, *options):
        return subprocess.run([folder/"venv/bin/dd_lnl", *options], cwd=place, env=without_repository(),
                              capture_output=True, text=True)
    return dd_lnl


@pytest.mark.slow
def test_a_new_environment_runs_and_reproduces(new_environment, tmp_path):
    ended = new_environment(tmp_path, "run", *RANDOM)
    assert ended.returncode == 0 and "over 1 networks" in ended.stdout, ended.stderr
    (tmp_path/"tiny.toml").write_text(TINY)
    ended = new_environment(tmp_path, "reproduce", "--profile", "tiny.toml") # without Sphinx there is no report
    assert ended.returncode == 0 and "pip install 'dd_lnl[report]'" in ended.stdout, ended.stderr
    assert len(list((tmp_path/"outputs/tiny/records").iterdir())) == 4
    assert (tmp_path/"outputs/tiny/figures/figure_2.png").exists()


@pytest.mark.slow
def test_a_stranger_audits_600_photographs(new_environment, tmp_path):
    "Class folders of JPEGs, three labels in ten wrong, no CSV and no test split: ten minutes at most on two cores."
    from test_audit import photographs, rows_of
    wrong = photographs(tmp_path/"photos", 600, ("zero", "one", "two", "three", "four"), size=(200, 160))
    start = time.monotonic()
    ended = new_environment(tmp_path, "audit", "photos")
    minutes = (time.monotonic() - start) / 60
    assert ended.returncode == 0 and "of the labels are wrong (90 % interval" in ended.stdout, ended.stderr
    home = tmp_path/"outputs/audit/photos"
    ranked = [wrong[row["path"]] for row in rows_of(home)]
    n_wrong = sum(ranked)
    print(f"{minutes:.1f} minutes; {sum(ranked[:n_wrong])} of the {n_wrong} most suspicious labels are wrong")
    assert len(ranked) == 600 and sum(ranked[:n_wrong]) > .85 * n_wrong
    assert (home/"report/index.html").exists() and (home/"distilled/examples.safetensors").exists()
    assert minutes < 12 # the limit is for an idle machine
