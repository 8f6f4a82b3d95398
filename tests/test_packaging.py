"""A built wheel works without the repository, and a fresh clone does what its README promises."""
import json, os, re, shlex, shutil, subprocess, sys, time, venv, zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from selenium.webdriver.common.by import By

SOURCES = ["settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "Snakefile", "config",
           "environment.yml", "dd_lnl", "nbs/experiments"]
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
FEW = """[[settings]]
dataset = "digits"
noise = "sym"
tau = 0.4
distiller = "dance"
controls = ["full", "random"]
ipcs = [1]
""" # cells of the profile digits, as they are there


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
    notebooks = {path.name for path in (ROOT/"nbs/experiments").glob("*.ipynb")}
    assert shipped == notebooks | {"Snakefile", "schema.yaml", "environment.yml"}
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
    where = python("-c", "from dd_lnl import engine; print(engine.__file__, engine.shipped_file('Snakefile'))")
    assert [Path(path).is_relative_to(place) for path in where.stdout.split()] == [True, True], where.stderr
    ended = python("-m", "dd_lnl", "run", *RANDOM)
    assert ended.returncode == 0 and "digits_sym0.4_random_dance_ipc1_seed0: " in ended.stdout, ended.stderr
    assert (empty/"outputs/trial/notebooks/digits_sym0.4_random_dance_seed0.ipynb").exists()


@pytest.fixture(scope="module")
def new_environment(wheel, tmp_path_factory):
    "Programs of a new environment, which holds the wheel and what it requires, at the locked versions."
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder/"venv", with_pip=True)
    pins = re.findall(r"^(\w.*?) *\\?$", (ROOT/"requirements.lock").read_text(), re.M) # without the hashes
    (folder/"pins.txt").write_text("\n".join(pins))
    pip = [folder/"venv/bin/python", "-m", "pip", "install", "--quiet", "--constraint", folder/"pins.txt"]
    subprocess.run([*pip, wheel], check=True, env=without_repository())
    def execute(place, program, *options):
        return subprocess.run([folder/"venv/bin"/program, *options], cwd=place, env=without_repository(),
                              capture_output=True, text=True)
    return execute


@pytest.mark.slow
def test_a_new_environment_runs_and_reproduces(new_environment, tmp_path):
    ended = new_environment(tmp_path, "dd_lnl", "run", *RANDOM)
    assert ended.returncode == 0 and "over 1 networks" in ended.stdout, ended.stderr
    (tmp_path/"tiny.toml").write_text(TINY)
    ended = new_environment(tmp_path, "dd_lnl", "reproduce", "--profile", "tiny.toml")
    assert ended.returncode == 0, ended.stderr
    assert "pip install 'dd_lnl[report]'" in ended.stdout # without Sphinx there is no report
    assert len(list((tmp_path/"outputs/tiny/records").iterdir())) == 4
    assert (tmp_path/"outputs/tiny/figures/figure_2.png").exists()


def timed(execute, *args):
    "A program's output, and the minutes that it took."
    start = time.monotonic()
    ended = execute(*args)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, (time.monotonic() - start) / 60


def lines_of_code(file):
    "The lines of a script that a person has to write: no docstring, no empty line."
    text = re.sub(r'^""".*?"""', "", file.read_text(), flags=re.S)
    return sum(bool(line.strip()) for line in text.splitlines())


@pytest.fixture(scope="module")
def stranger(new_environment, tmp_path_factory):
    "600 JPEGs in class folders, three labels in ten wrong, audited with our command and with cleanlab alone."
    from test_audit import photographs, rows_of
    place, script = tmp_path_factory.mktemp("stranger"), ROOT/"tests/cleanlab_alone.py"
    wrong = photographs(place/"photos", 600, ("zero", "one", "two", "three", "four"), size=(200, 160))
    said, minutes = timed(new_environment, place, "dd_lnl", "audit", "photos")
    ranked = [wrong[row["path"]] for row in rows_of(place/"outputs/audit/photos")]
    n_wrong = sum(ranked)
    rate, interval = re.search(r"About ([\d.]+ %) .*?interval ([\d.]+ to [\d.]+ %)", said).groups()
    audit = {"lines": 0, "commands": 1, "minutes": minutes, "n_wrong": n_wrong, "found": sum(ranked[:n_wrong]),
             "n": len(ranked), "rate": f"{rate} ({interval})",
             "leaves": "a page, a ranked list, a clean index, a distilled set"}
    said, minutes = timed(new_environment, place, "python", script, "photos")
    ranked = [wrong[line.split(",")[0]] for line in (place/"suspicious.csv").read_text().splitlines()[1:]]
    alone = {"lines": lines_of_code(script), "commands": 1, "minutes": minutes, "n": len(ranked),
             "found": sum(ranked[:n_wrong]), "rate": said.split(" of the")[0], "leaves": "a ranked list"}
    return place/"outputs/audit/photos", {"audit": audit, "cleanlab": alone}


@pytest.mark.slow
def test_a_stranger_audits_600_photographs(stranger):
    "No CSV, no test split, no option: ten minutes at most. Which path finds more is told (chapter 15d), not demanded."
    home, paths = stranger
    audit, alone = paths["audit"], paths["cleanlab"]
    assert audit["n"] == alone["n"] == 600 and .25 * 600 < audit["n_wrong"] < .35 * 600
    assert audit["found"] > .85 * audit["n_wrong"]
    assert (home/"labels.csv").exists() and (home/"distilled/examples.safetensors").exists()
    assert audit["minutes"] < 12
    if "STRANGER_JSON" in os.environ: # keep the numbers for the README
        where = f"Measured with one thread on {os.environ['STRANGER_WHERE']}."
        Path(os.environ["STRANGER_JSON"]).write_text(json.dumps(paths | {"where": where}, indent=1) + "\n")


@pytest.mark.slow
def test_a_stranger_opens_the_report(stranger, browser):
    home, paths = stranger
    browser.get((home/"report/index.html").as_uri())
    text = browser.find_element(By.TAG_NAME, "body").text
    assert f"About {paths['audit']['rate'].split(' (')[0]} of the labels are wrong" in text
    pictures = browser.find_elements(By.CSS_SELECTOR, ".grid img")
    assert len(pictures) == 60 and all(int(image.get_property("naturalWidth")) == 64 for image in pictures)


# A first user with a clone: from the README's first command to its last line.
@pytest.fixture
def clone(tmp_path):
    "A fresh clone of what is committed."
    if not (ROOT/".git").exists():
        pytest.skip("not a git checkout")
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path/"dd_lnl"], check=True)
    yield tmp_path/"dd_lnl"
    shutil.rmtree(tmp_path/"dd_lnl/.venv", ignore_errors=True) # 6 GB


def in_clone(clone, *command):
    return subprocess.run(command, cwd=clone, env=without_repository(), capture_output=True, text=True)


def first_command(readme): # its text -> a list of words
    "The first command that the README shows."
    block = re.search(r"```sh\n(.*?)```", readme, re.S)[1]
    return shlex.split(block.splitlines()[0], comments=True)


def make_few(clone):
    "Write a profile of a few cells whose committed records are those of the digits; the option that chooses it."
    (clone/"few.toml").write_text(FEW)
    (clone/"outputs/few/records").mkdir(parents=True)
    for kind in ("dance_dance_ipc1", "full_dance_all", "random_dance_ipc1"):
        shutil.copy(clone/f"outputs/digits/records/digits_sym0.4_{kind}_seed0.json", clone/"outputs/few/records")
    return "PROFILE=few.toml"


WHOLE = pytest.mark.skipif("WHOLE_ARTIFACT" not in os.environ, reason="takes an hour: set WHOLE_ARTIFACT=1")


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["few", pytest.param("digits", marks=WHOLE)])
def test_a_stranger_reproduces(clone, profile):
    "A new environment, the cells computed anew, figures, a report, and the sentence that it was reproduced."
    readme = (clone/"README.md").read_text()
    options = [make_few(clone)] if profile == "few" else []
    n_cells = len(list((clone/f"outputs/{profile}/records").iterdir()))
    said, minutes = timed(in_clone, clone, *first_command(readme), *options)
    print(f"{n_cells} cells: {minutes:.1f} minutes, packages included")
    assert re.match(rf"reproduced: {n_cells} of {n_cells} cells ", said.splitlines()[-1])
    assert f"report: outputs/{profile}/report/index.html" in said
    promised = float(re.search(r"takes about (\d+) minutes", readme)[1])
    assert minutes < 1.5 * promised # the promise counts cells, not packages and figures
