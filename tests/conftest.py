"""What these tests share: one thread, where the project lies, and a copy of its notebooks to experiment on."""
import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1") # before anything imports torch

import shutil, subprocess, sys
from pathlib import Path

import pytest, torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1" # before anything imports Triton: its kernels on a CPU

ROOT = Path(__file__).parents[1]


def scope_of(test): # its id in pytest
    "What runs in one process: the tests of a file, which share fixtures. Chapters share none and run in any."
    path = test.split("::", 1)[0]
    return test if path.endswith("test_chapters.py") else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = scope_of # what `--dist loadfile` overrides, too
    return scheduler


def git(*words):
    "How a git command ends in the project."
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)


def committed_profiles():
    "The profiles whose records git holds and that have been drawn; without git those that are there."
    there = {path.parent for path in (ROOT/"outputs").glob("*/records") if (path.parent/"figures").is_dir()}
    ended = git("ls-tree", "--name-only", "HEAD", "outputs/")
    return sorted(there & {ROOT/name for name in ended.stdout.splitlines()} if ended.returncode == 0 else there)


@pytest.fixture(scope="session")
def committed_results():
    "Skips a test of what is made from committed results where others stand in their place, as after `make artifact`."
    if git("diff", "--quiet", "HEAD", "--", "outputs").returncode == 1:
        pytest.skip("outputs/ was computed anew: this test is about the committed results (git checkout outputs)")


def nbdev(command, folder):
    "Run an nbdev command in `folder`; nbdev_export does nothing where IN_TEST is set."
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
    subprocess.run([Path(sys.executable).with_name(command)], cwd=folder, env=env, check=True)


@pytest.fixture
def sandbox(tmp_path):
    "A folder with a copy of settings.ini and the notebooks, and nothing else of the project."
    shutil.copy(ROOT/"settings.ini", tmp_path)
    shutil.copytree(ROOT/"nbs", tmp_path/"nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return tmp_path


@pytest.fixture(scope="module")
def browser():
    "Headless chromium, which notes every address that it asks for."
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    os.environ["SE_OFFLINE"] = "true" # use the installed driver and download none
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1300,1000"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    window = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield window
    window.quit()
