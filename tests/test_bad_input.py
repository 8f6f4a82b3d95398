"""Bad input at the front door: one sentence that names the fault and its repair, before a notebook is started.

What a chapter refuses is tested there, behind the function that refuses it. Here stands what needs the command line or
several chapters.
"""
import errno, os, subprocess, sys
from pathlib import Path

import pytest, torch
from conftest import ROOT
from PIL import Image

from dd_lnl import bare, cli, core, data, engine, noise, profiles
from dd_lnl.profiles import profile
from dd_lnl.setting import setting
from dd_lnl.store import distilled, prepare

ROWS = [f"{i}.png,{'test' if i < 4 else 'train'},{'ab'[i % 2]},{'ab'[i // 8]}" for i in range(16)]
OWN = ["--dataset", "folder", "--root", "ROOT"]


@pytest.fixture
def refused(tmp_path, monkeypatch):
    "A function from the arguments of `dd_lnl run` to the sentence of the refusal; ROOT and OUT stand for folders."
    def execute(*_): pytest.fail("the engine was started")
    monkeypatch.setattr(engine, "start", execute)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    monkeypatch.delenv("DD_LNL_DATA", raising=False)
    def run(*args):
        places = {"ROOT": str(tmp_path), "OUT": str(tmp_path/"out")}
        options = ["--folder=" + places["OUT"], *(places.get(arg, arg) for arg in args)]
        monkeypatch.setattr(sys, "argv", ["dd_lnl", "run", *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        sentence = str(ended.value.code)
        assert sentence.startswith("dd_lnl: ") and sentence.endswith(".") and "\n" not in sentence, sentence
        return sentence
    return run


def own_folder(folder, rows=ROWS):
    for i in range(16):
        Image.new("RGB", (8, 8), (16 * i, 0, 0)).save(folder/f"{i}.png")
    (folder/"index.csv").write_text("\n".join(["path,split,label,crowd", *rows]) + "\n")


@pytest.mark.parametrize("args, says", [
    (["--noise", "asym", "--tau", "0.2"], "needs a class map, and 'folder' has none"),
    (["--noise", "crwd", "--tau", "none"], "did you mean 'crowd'? valid are label, crowd"),
    (["--noise", "crowd"], "has the rate it was found with"),
    (["--noise", "worst", "--tau", "none"], "Unknown label column 'worst'"),
    (["--size", "5", "--dataset", "digits"], "which digits is not"),
    (["--seed", "-1"], "between 0 and 2**32 - 1"),
    (["--changes", '{"ipc": 5}'], "dataset and ipcs are parameters of their own")])
def test_settings_that_the_data_cannot_have(args, says, refused, tmp_path):
    own_folder(tmp_path)
    assert says in refused(*OWN, *args)


@pytest.mark.parametrize("row, says", [
    ("gone.png,train,a,a", "Row 18 of index.csv: image gone.png is missing"),
    ("index.csv,train,a,a", "Row 18 of index.csv: image index.csv cannot be read as an image"),
    ("wide.png,train,a,a", "Row 18 of index.csv: image wide.png has 9×8 pixels, others have 8×8"),
    ("wide.png,train,c,a", "Row 18 of index.csv: label 'c' is not one of the 2 classes")])
def test_a_row_that_is_wrong(row, says, refused, tmp_path):
    own_folder(tmp_path, [*ROWS, row])
    Image.new("RGB", (9, 8)).save(tmp_path/"wide.png")
    assert says in refused(*OWN, "--noise", "given", "--tau", "none")


def test_a_class_that_nobody_observed(refused, tmp_path):
    own_folder(tmp_path, [row[:-1] + "a" for row in ROWS])
    assert "No image has the observed label 1" in refused(*OWN, "--noise", "crowd", "--tau", "none")


@pytest.mark.parametrize("dataset, file, says", [
    ("cifar10", "cifar-10-batches-py/data_batch_1", "data_batch_1 is absent or altered (by its checksum): delete"),
    ("cifar100", "cifar-100-python/train", "train is absent or altered (by its checksum): delete"),
    ("tinyimagenet", "tiny-imagenet-200/wnids.txt",
     "lists 1 classes and 0 validation images, not 200 and 10000: delete")])
def test_a_download_that_was_cut(dataset, file, says, refused, tmp_path):
    (tmp_path/file).parent.mkdir()
    (tmp_path/file).write_bytes(b"half")
    assert says in refused("--dataset", dataset, "--root", "ROOT")


def test_human_labels_that_were_cut(tmp_path):
    (tmp_path/"CIFAR-10_human.pt").write_bytes(b"half")
    with pytest.raises(core.InputError, match="its SHA-256 differs"):
        noise.human("worst", tmp_path)


def test_a_file_in_the_place_of_the_output_folder(refused, tmp_path):
    (tmp_path/"out").write_text("")
    assert "Cannot write" in refused() and "Not a directory" in refused()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_output_folder(code, refused, tmp_path, monkeypatch):
    def fail(*_, **__): raise OSError(code, os.strerror(code))
    monkeypatch.setattr(*(Path, "write_bytes") if code == errno.ENOSPC else (core.tempfile, "mkstemp"), fail)
    assert refused().endswith(f"({os.strerror(code)}): free some space or choose another folder.")


def test_only_fresh_replaces_records_of_another_size(tmp_path, monkeypatch):
    own = tmp_path/"own.toml"
    own.write_text('[[settings]]\ndataset = "folder"\nnoise = "given"\ntau = "none"\ndistiller = "full"\n')
    home = tmp_path/"out"/"own"
    core.write_json(home/"records"/f"{profile(str(own))[0].cells[0].id}.json", {"size": 16})
    monkeypatch.setattr(cli, "run_settings", lambda *_: {})
    monkeypatch.setattr(cli, "draw_figures", lambda *_: {})
    options = dict(profile=str(own), folder=str(tmp_path/"out"), size=32)
    with pytest.raises(core.InputError, match="of images of size 16"):
        cli.reproduce_command(**options)
    cli.reproduce_command(fresh=True, **options)
    assert (home/"superseded"/"records").exists() and not (home/"records").exists()


def test_a_packed_folder_whose_results_cannot_be_written(tmp_path, monkeypatch):
    core.write_json(tmp_path/"pack.json", {"profile": "digits", "cifar10": "cifar10", "size": None, "commit": None})
    (tmp_path/"a file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DD_LNL_COMMIT", "") # which is set anew, and so put back
    monkeypatch.setattr(sys, "argv", ["run.py", "--folder", "a file"])
    with pytest.raises(SystemExit, match="^dd_lnl: Cannot write"):
        bare.main()


def test_a_dry_run_of_what_is_finished(monkeypatch, capsys):
    monkeypatch.setattr(profiles, "missing_cells", lambda s: [(part, []) for part in s.parts])
    cli.list_missing([setting()])
    assert capsys.readouterr().out == "All cells of trial are finished.\n"


def test_a_disk_that_is_full_at_the_end_leaves_what_was_there(tmp_path, monkeypatch):
    core.write_json(tmp_path/"record.json", {"mean": .5})
    def fail(*_, **__): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(core.InputError, match="No space left on device.: free some space"):
        core.write_json(tmp_path/"record.json", {"mean": .6})
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
    assert core.read_json(tmp_path/"record.json") == {"mean": .5}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(refused):
    assert "torch sees no GPU here: use device 'cpu' or 'auto'" in refused("--device", "cuda")


@pytest.mark.parametrize("distiller, says", [
    ("dance", "class a has 6 observed images, 8 are needed: 2 drawn again"),
    ("random", "class a has 6 observed images for IPC 8: some drawn again")])
def test_more_images_than_a_class_has_are_drawn_again_and_noted(distiller, says, tmp_path, monkeypatch):
    own_folder(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    changes = dict(iterations=1, n_experts=1, width=4, factor=1, expert={"epochs": 1}) if distiller == "dance" else {}
    s = setting(dataset="folder", root=str(tmp_path), noise="given", tau=None, distiller=distiller, protocol="dance",
                ipcs=[8], changes=changes, folder=str(tmp_path/"out"))
    syn = distilled(s, prepare(s), 8)
    assert len(syn.images) == 16 and syn.log["notes"][0] == says


def test_the_terminal_shows_one_line_and_no_traceback(tmp_path):
    ended = subprocess.run([sys.executable, "-m", "dd_lnl", "run", "--dataset", "digit", "--folder", tmp_path/"out",
                            "--root", tmp_path], # where no other data set lies
                           cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 0 and ended.stdout == "" and not [p for p in tmp_path.rglob("*") if p.is_file()]
    valid = ", ".join([*data.KNOWN, "folder"])
    assert ended.stderr == f"dd_lnl: Unknown data set 'digit': did you mean 'digits'? valid are {valid}.\n"
