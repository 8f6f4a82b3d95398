"""Every chapter runs from top to bottom, and reads like a chapter."""
import os, sys
from unittest import mock

import matplotlib, nbdev.test, nbformat, pytest, torch
from conftest import ROOT, scope_of
from nbdev.config import get_config
from nbformat.v4 import new_code_cell as code, new_markdown_cell as prose, new_notebook, new_output

CHAPTERS = sorted((ROOT/"nbs").glob("[0-9]*_*.ipynb"))
SLOW = [path for path in CHAPTERS if '"#| slow' in path.read_text()]
SKIPPED = get_config(path=ROOT).tst_flags.split()


def each(paths): return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def run(path, monkeypatch, skipped=SKIPPED): # the flags of cells that are left out
    "Run a notebook as nbdev_test would: did it pass, and how many cells that hold code were run?"
    n_run = 0
    class Counting(nbdev.test.CaptureShell):
        def cell(self, cell, **kwargs):
            nonlocal n_run
            n_run += bool(cell.source.strip())
            super().cell(cell, **kwargs)
    monkeypatch.setattr(nbdev.test, "CaptureShell", Counting)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("IN_TEST", "1") # test_nb would set it for good
    monkeypatch.chdir(ROOT/"nbs")
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ), matplotlib.rc_context():
        try:
            passed, _ = nbdev.test.test_nb(path, skip_flags=skipped)
        finally:
            mock.patch.stopall()
    return passed, n_run


def faults(nb):
    "What keeps a notebook from reading like a chapter."
    cells = [c for c in nb.cells if c.cell_type == "code"]
    lines = [sum(bool(line.strip()) for line in c.source.splitlines()) for c in cells]
    words = sum(len(c.source.split()) for c in nb.cells if c.cell_type == "markdown")
    outputs = [o for c in cells for o in c.outputs]
    return [fault for fault, holds in [
        (f"{words} words of prose for {sum(lines)} lines of code", words < sum(lines)),
        (f"a code cell of {max(lines)} lines", max(lines) > 50),
        ("no stored output", not outputs),
        ("a stored error", any(o.output_type == "error" for o in outputs)),
    ] if holds]


def test_there_are_chapters(): assert CHAPTERS


def test_only_chapters_run_apart():
    one, other = "tests/test_chapters.py::test_runs[a]", "tests/test_chapters.py::test_runs[b]"
    assert scope_of(one) != scope_of(other)
    assert {scope_of(f"tests/test_docs.py::{name}") for name in ("test_a", "test_b[c::d]")} == {"tests/test_docs.py"}


@each(CHAPTERS)
def test_runs(path, monkeypatch):
    passed, n_run = run(path, monkeypatch)
    assert passed and n_run


@pytest.mark.slow
@each(SLOW)
def test_runs_with_its_slow_cells(path, monkeypatch):
    passed, n_run = run(path, monkeypatch, [flag for flag in SKIPPED if flag != "slow"])
    assert passed and n_run


@pytest.mark.parametrize("source, passed, n_run", [
    ("x = 1", True, 1), ("assert False", False, 1),
    ("#| cuda\nassert False", True, 0), ("#| slow\nassert False", True, 0),
    ("#| eval: false\nassert False", True, 0)])
def test_running_can_fail(source, passed, n_run, tmp_path, monkeypatch):
    nbformat.write(new_notebook(cells=[code(source)]), tmp_path/"sample.ipynb")
    assert run(tmp_path/"sample.ipynb", monkeypatch) == (passed, n_run)


LEAVES_TRACES = """
import os, matplotlib
from unittest import mock
os.environ["LEFT_BEHIND"] = "1"
matplotlib.rcParams["lines.linewidth"] = 99
mock.patch("os.getlogin", "patched").start()
assert os.getlogin == "patched"
"""


@pytest.mark.parametrize("end, passed", [("", True), ("assert False", False)])
def test_what_a_chapter_changes_ends_with_it(end, passed, tmp_path, monkeypatch):
    nbformat.write(new_notebook(cells=[code(LEAVES_TRACES + end)]), tmp_path/"sample.ipynb")
    assert run(tmp_path/"sample.ipynb", monkeypatch) == (passed, 1)
    assert "LEFT_BEHIND" not in os.environ and matplotlib.rcParams["lines.linewidth"] != 99
    assert os.getlogin != "patched"


@each(CHAPTERS)
def test_reads_like_a_chapter(path): assert faults(nbformat.read(path, 4)) == []


def test_reading_can_fail():
    shown = new_output("stream", text="1\n")
    assert faults(new_notebook(cells=[prose("Two words"), code("print(1)", outputs=[shown])])) == []
    assert faults(new_notebook(cells=[prose("One word is short"), code("x = 1\n" * 51)])) == [
        "4 words of prose for 51 lines of code", "a code cell of 51 lines", "no stored output"]
    assert faults(new_notebook(cells=[prose("Why"), code("1/0", outputs=[new_output("error")])])) == ["a stored error"]
