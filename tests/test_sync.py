"""What is committed is what the notebooks make: the package, clean cells, and no trace of the machine they ran on."""
import re, subprocess

import nbformat, pytest
from conftest import ROOT, nbdev

from dd_lnl.core import data_root
from dd_lnl.profiles import missing_cells, profile
from dd_lnl.record import record_path

# Folders of a machine or a person, and places that packages were fetched from.
MACHINE = re.compile(r"(?<![\w.~-])/(work|root|tmp|home/\w+|Users/\w+)\b"
                     r"|pythonhosted\.|-index[-]url\b|\bpypi\.(?!org/project)")
COLOUR = re.compile(r"\\u001b\[[\d;]*m") # as JSON holds it


def tree(folder):
    "The files below a folder and what they hold."
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(p.parts)}


def differences(one, other):
    "The files that two folders do not share, or that differ."
    a, b = tree(one), tree(other)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def traces(text):
    "The machine's folders and registries that a text names, also behind the colours of a traceback."
    return [match[0] for match in MACHINE.finditer(COLOUR.sub("", text))]


def test_the_package_is_what_the_notebooks_export(sandbox):
    nbdev("nbdev_export", sandbox)
    assert differences(sandbox/"dd_lnl", ROOT/"dd_lnl") == ["__main__.py"] # the one module without a chapter


def test_edits_orphans_and_missing_modules_are_seen(tmp_path):
    for folder, names in [("made", ["same", "edited", "missing"]), ("committed", ["same", "edited", "orphan"])]:
        (tmp_path/folder/"sub").mkdir(parents=True)
        for name in names:
            (tmp_path/folder/"sub"/name).write_text(folder if name == "edited" else name)
    assert differences(tmp_path/"made", tmp_path/"committed") == ["sub/edited", "sub/missing", "sub/orphan"]


def test_the_notebooks_are_clean_and_unclean_ones_are_seen(sandbox):
    path = sandbox/"nbs/00_core.ipynb"
    nb = nbformat.read(path, 4)
    next(cell for cell in nb.cells if cell.cell_type == "code").execution_count = 7
    nbformat.write(nb, path)
    assert differences(sandbox/"nbs", ROOT/"nbs") == ["00_core.ipynb"]
    nbdev("nbdev_clean", sandbox)
    assert differences(sandbox/"nbs", ROOT/"nbs") == []


@pytest.mark.skipif(not (ROOT/".git").exists(), reason="not a git checkout")
def test_no_committed_text_names_the_machine():
    names = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    files = [ROOT/name for name in names.split("\0") if name and (ROOT/name).is_file()]
    named = {str(p.relative_to(ROOT)): traces(p.read_text("utf-8", errors="replace")) for p in files}
    assert {name: places for name, places in named.items() if places} == {}


@pytest.mark.parametrize("parts, n", [
    (["saved to ", "tmp", "x.png"], 1), (["'", "home", "ann", "dd_lnl'"], 1), (["", "work", "main", "nbs"], 1),
    (["\\u001b[32m", "work", "main"], 1),
    (["https:", "", "files.python" + "hosted.org", "packages"], 1), (["https:", "", "example.org", "tmp", "x"], 0),
    (["..", "work", "x"], 0), (["../shared", "home", "x"], 0)])
def test_traces_are_seen(parts, n): assert len(traces("/".join(parts))) == n


@pytest.mark.skipif(not (ROOT/".git").exists(), reason="not a git checkout")
def test_no_committed_notebook_ends_with_an_error():
    names = subprocess.check_output(["git", "ls-files", "*.ipynb"], cwd=ROOT, text=True).split()
    failed = [name for name in names if (ROOT/name).is_file() and '"output_type": "error"' in (ROOT/name).read_text()]
    assert failed == []


UNFINISHED = {"cifar-small"} # only what is there can be of other code


@pytest.mark.parametrize("name", ["digits", "digits-seeds", "digits-repeats", "digits-law", "digits-tails",
                                  "digits-unabsorb", "cifar-beyond", "cifar-small"])
def test_the_present_code_has_made_the_committed_records(name):
    if name.startswith("cifar") and not (data_root()/"cifar10-jpeg.csv").exists():
        pytest.skip("needs the JPEG copy of CIFAR-10")
    settings = profile(name, "cifar10-jpeg", folder=str(ROOT/"outputs"))
    stale = [cell.id for s in settings for part, cells in missing_cells(s) for cell in cells
             if name not in UNFINISHED or record_path(part, cell).exists()]
    assert stale == [], f"{len(stale)} cells: undo the change of code that they depend on, or compute them again"
