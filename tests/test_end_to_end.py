"""The whole way, from a command to records on disk: computed, repeated, killed, continued, with data of one's own."""
import ctypes, json, multiprocessing, random, shutil, subprocess, sys, time, tomllib
from pathlib import Path

import nbformat, numpy, psutil, pytest, torch, typer
from conftest import ROOT
from PIL import Image
from typer.testing import CliRunner

from dd_lnl import cli, engine, profiles, results, training
from dd_lnl.core import InputError, load_tensors, notebook_error
from dd_lnl.experiment import evaluated
from dd_lnl.record import finished
from dd_lnl.setting import setting
from dd_lnl.store import distilled, experts, prepare

TINY = dict(ipcs=[1, 2], n_eval=1, changes={"iterations": 4, "n_experts": 1, "expert": {"epochs": 1}})
RANDOM = dict(distiller="random", protocol="dance", ipcs=[1], n_eval=1)
EVERY_RECORD = {"profile", "dataset", "noise", "tau", "tau_hat", "distiller", "protocol", "ipc", "seed", "n", "mean",
                "std", "accuracies", "identifiable", "config", "wall_s", "peak_mib", "device", "threads", "versions",
                "commit", "key"}


def papermill(notebook, output, **parameters):
    "Execute an experiment notebook as one would by hand."
    command = [sys.executable, "-m", "papermill", "-k", "python3", f"nbs/experiments/{notebook}.ipynb", output]
    return subprocess.run([*command, "-y", json.dumps(parameters)], cwd=ROOT, capture_output=True, text=True)


def walk(**values):
    "What the setting notebook does, without one."
    s = setting(**values)
    ready = prepare(s)
    trained = experts(s, ready)
    return [evaluated(s, ready, ipc, distilled(s, ready, ipc, trained)) for ipc in s.ipcs]


def records(folder):
    "The records below `folder`, less what two runs of one cell may differ in."
    read = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*/records/*.json")}
    for record in read.values():
        record["log"].pop("seconds", None)
        for name in ("profile", "wall_s", "distil_s", "experts_s", "peak_mib", "commit"):
            record.pop(name, None)
    return read


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    "A folder in which the setting notebook was executed by hand."
    folder = tmp_path_factory.mktemp("done")
    ended = papermill("setting", folder/"executed.ipynb", folder=str(folder), **TINY)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_a_setting_leaves_a_record_a_cell(done):
    found = [json.loads(path.read_text()) for path in sorted((done/"trial/records").iterdir())]
    assert [(r["ipc"], r["n"], len(r["accuracies"])) for r in found] == [(1, 1, 1), (2, 1, 1)]
    for r in found:
        assert EVERY_RECORD <= r.keys()
        assert (r["tau"], r["distiller"], r["protocol"], r["identifiable"]) == (.4, "dance", "dance", True)
        assert abs(r["tau_hat"] - .4) < .05 and .1 < r["mean"] < 1 and r["config"]["distil"]["iterations"] == 4


def test_each_stage_is_shown(done):
    outputs = [o for cell in nbformat.read(done/"executed.ipynb", 4).cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 5 # T, images, losses, two synthetic sets


def said_by(*words):
    "What a command says that succeeds."
    ended = CliRunner().invoke(cli.app, [*map(str, words)])
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_an_exported_set_is_as_good_as_its_record(done, tmp_path):
    cell = "digits_sym0.4_dance_dance_ipc1_seed0"
    said = said_by("export", cell, "--to", tmp_path/"set", "--profile", "trial", "--folder", done)
    assert f"{tmp_path/'set'} holds {cell}" in said
    [accuracy] = records(done)[cell]["accuracies"]
    assert f"({100 * accuracy:.1f})" in said_by("evaluate", tmp_path/"set", "--n-eval", 1)


def test_a_cell_repeats_itself_and_another_seed_does_not(done, tmp_path):
    walk(folder=str(tmp_path/"again"), **TINY)
    assert records(tmp_path/"again") == records(done)
    (other,) = walk(folder=str(tmp_path/"other"), **{**TINY, "ipcs": [1], "seed": 1})
    first = records(done)["digits_sym0.4_dance_dance_ipc1_seed0"]
    assert other["tau_hat"] != first["tau_hat"] and other["accuracies"] != first["accuracies"]


def first_cells(notebook, **parameters):
    "Run a notebook's parameters, what papermill writes after them, and the cell that checks them."
    cells = nbformat.read(ROOT/f"nbs/experiments/{notebook}.ipynb", 4).cells
    defaults, check = [cell.source for cell in cells if cell.cell_type == "code"][:2]
    injected = [f"{name} = {value!r}" for name, value in parameters.items()]
    exec("\n".join([defaults, *injected, check]), names := {})
    return names["s"]


@pytest.mark.parametrize("notebook, distiller", [("setting", "dance"), ("baseline", "full")])
def test_notebooks_check_their_parameters(notebook, distiller):
    s = first_cells(notebook, tau=.2)
    assert (s.tau, s.distiller) == (.2, distiller)
    for wrong, says in [({"tua": .2}, "Unknown parameter 'tua': did you mean 'tau'"),
                        ({"seed": .5}, "'seed' takes int, but was given 0.5"),
                        ({"tau": "0.4"}, "'tau' takes float"), ({"protocol": "dence"}, "did you mean 'dance'")]:
        with pytest.raises(InputError, match=says):
            first_cells(notebook, **wrong)


def test_papermill_fails_before_anything_is_written(tmp_path):
    ended = papermill("setting", tmp_path/"executed.ipynb", tua=.4, folder=str(tmp_path/"out"))
    assert ended.returncode != 0 and not (tmp_path/"out").exists()
    assert ended.stderr.strip().splitlines()[-1].startswith("InputError: Unknown parameter 'tua': did you mean 'tau'?")


# A profile of two settings in the place of `digits`, reproduced one setting after the other, without its figures.
DRIVER = f"""
import sys
from dd_lnl import cli, engine, profiles
profiles.PROFILES["tiny"] = [{RANDOM}, {TINY}]
engine.FIGURES.clear()
cli.reproduce_command("tiny", folder=sys.argv[1], jobs=1)
"""


def state(folder):
    "When the records of profile tiny were written, and what is in them."
    return {p.stem: (p.stat().st_mtime_ns, p.read_bytes()) for p in (folder/"tiny/records").glob("*.json")}


def alive(processes):
    "Those that still run; one that only waits for its parent to take notice does not."
    return [p for p in processes if psutil.pid_exists(p.pid) and p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def command_of(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error: # it has just ended
        return ""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    "A folder with one finished setting, and `reproduce` killed after the first of another's two cells; what ran then."
    folder = tmp_path_factory.mktemp("killed")
    walk(profile="tiny", folder=str(folder), **RANDOM)
    ctypes.CDLL(None).prctl(36, 1) # PR_SET_CHILD_SUBREAPER: orphans come to us, not to process 1, as on a desktop
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, folder], stderr=subprocess.DEVNULL)
    try:
        stop = time.monotonic() + 120
        while len(state(folder)) < 2 and driver.poll() is None and time.monotonic() < stop:
            time.sleep(.02)
        running = {process: command_of(process) for process in psutil.Process(driver.pid).children(recursive=True)}
    finally:
        driver.kill()
        driver.wait()
    yield folder, running
    for survivor in alive(running):
        survivor.kill()
    ctypes.CDLL(None).prctl(36, 0)


def test_a_killed_run_takes_its_notebooks_with_it(killed):
    folder, running = killed
    commands = "\n".join(running.values())
    assert all(part in commands for part in ("snakemake", "run_job", "ipykernel")) # the engine, a job and its kernel
    stop = time.monotonic() + 10
    while alive(running) and time.monotonic() < stop:
        time.sleep(.1)
    assert alive(running) == []
    assert sorted(state(folder)) == ["digits_sym0.4_dance_dance_ipc1_seed0", "digits_sym0.4_random_dance_ipc1_seed0"]


def test_a_killed_run_continues_and_repeats_nothing(killed, done, monkeypatch):
    folder, _ = killed
    before, (other,) = state(folder), [record for name, record in records(folder).items() if "random" in name]
    whole = done/"trial/records/digits_sym0.4_dance_dance_ipc2_seed0.json"
    half = whole.read_text()[:whole.stat().st_size // 2] # as if cut by something else
    (folder/"tiny/records"/whole.name).write_text(half)
    with pytest.warns(UserWarning, match=whole.name):
        assert results.load("tiny", folder).ipc.tolist() == [1, 1] # and not drawn
    monkeypatch.setitem(profiles.PROFILES, "tiny", [RANDOM, TINY])
    status = CliRunner().invoke(cli.app, ["status", "--profile", "tiny", "--folder", str(folder)]).output
    assert "1/2  digits_sym0.4_dance_dance_seed0  (IPC 2 outdated or damaged)" in status
    assert "2 of 3 cells of tiny are finished. Continue with: dd_lnl reproduce --profile tiny" in status
    subprocess.run([sys.executable, "-c", DRIVER, folder], capture_output=True, check=True)
    assert before.items() <= state(folder).items() # neither computed nor written again
    assert [p.name for p in (folder/"tiny/notebooks").iterdir()] == ["digits_sym0.4_dance_dance_seed0.ipynb"]
    undisturbed = records(done) | {"digits_sym0.4_random_dance_ipc1_seed0": other}
    assert records(folder) == undisturbed


@pytest.mark.slow
def test_killed_at_three_random_moments_it_ends_as_if_it_had_not_been(done, tmp_path):
    moments, before = random.Random(), {}
    for _ in range(3):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, tmp_path], stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(5, 25))
        driver.kill()
        driver.wait()
        assert before.items() <= state(tmp_path).items()
        before = state(tmp_path)
    subprocess.run([sys.executable, "-c", DRIVER, tmp_path], capture_output=True, check=True)
    assert before.items() <= state(tmp_path).items()
    walk(folder=str(tmp_path/"whole"), **RANDOM)
    assert records(tmp_path) == records(done) | records(tmp_path/"whole")


def test_a_setting_that_fails_is_named_and_the_rest_is_complete(tmp_path, monkeypatch, capfd):
    too_many = dict(distiller="datm", ipcs=[1], n_train=1000, n_eval=1) # more images of a class than there are
    monkeypatch.setitem(profiles.PROFILES, "tiny", [too_many, TINY])
    monkeypatch.setattr(engine, "FIGURES", {"figure_2": "sym"})
    with pytest.raises(typer.Exit):
        cli.reproduce_command("tiny", folder=str(tmp_path), jobs=2)
    said = capfd.readouterr().err
    for line in ("Failed: digits_sym0.4_datm_datm_seed0\n  InputError: Class", "fewer than the 1000",
                 "again: dd_lnl run --profile=tiny --distiller=datm"):
        assert line in said
    assert notebook_error(tmp_path/"tiny/notebooks/digits_sym0.4_datm_datm_seed0.ipynb").startswith("InputError")
    assert sorted(state(tmp_path)) == [f"digits_sym0.4_dance_dance_ipc{ipc}_seed0" for ipc in (1, 2)]
    assert (tmp_path/"tiny/figures/figure_2.png").exists()


def test_a_dry_run_of_the_paper_lists_its_grid(tmp_path):
    command = ["reproduce", "--profile", "paper", "--dry-run", "--folder", str(tmp_path)]
    shown = CliRunner().invoke(cli.app, command).output
    settings = profiles.profile("paper")
    assert len(settings) > 100 and all(f"{s.id} " in shown for s in settings)
    n = sum(len(part.cells) for s in settings for part in s.parts)
    assert f"in all: {n:,}.0 missing" in shown and " h on " in shown and " GB" in shown
    assert not list(tmp_path.iterdir())


DATM = dict(distiller="datm", ipcs=[1], changes={"iterations": 40, "syn_steps": 3, "max_start": 4, "first_max": 2,
                                                 "expert": {"n_experts": 2, "epochs": 6, "keep": 5}})


def distil(folder):
    training.SAVE_EVERY = 0. # in a process of its own
    s = setting(folder=str(folder), **DATM)
    ready = prepare(s)
    distilled(s, ready, 1, experts(s, ready))


def test_datm_killed_among_its_experts_and_while_matching_ends_as_if_it_had_not_been(tmp_path):
    processes, sets = multiprocessing.get_context("forkserver"), {}
    processes.set_forkserver_preload(["dd_lnl.store"]) # each starts where PyTorch is there already
    signs = ["experts/*/partial_000.pt", "experts/*/partial_001.pt", "unfinished/*/datm.pt"]
    for name, killed_at in [("once", []), ("killed", signs)]:
        cache = tmp_path/name/"trial/cache"
        for sign in killed_at:
            run = processes.Process(target=distil, args=(tmp_path/name,))
            run.start()
            stop = time.monotonic() + 120
            while not list(cache.glob(sign)) and run.is_alive() and time.monotonic() < stop:
                time.sleep(.005)
            run.kill()
            run.join()
            assert list(cache.glob(sign)) and not list(cache.glob("synthetic/*.pt")) # it was in the middle
        run = processes.Process(target=distil, args=(tmp_path/name,))
        run.start()
        run.join()
        assert run.exitcode == 0
        sets[name] = load_tensors(next(cache.glob("synthetic/*.pt")))
    assert all(torch.equal(sets["once"][k], sets["killed"][k]) for k in ("images", "targets"))
    assert sets["once"]["lr"] == sets["killed"]["lr"]
    assert sets["once"]["log"]["loss"] == sets["killed"]["log"]["loss"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    "Sixty pictures of three kinds in a folder, with an index of noisy labels beside the true ones; decoded below it."
    rng, lines = numpy.random.default_rng(0), ["path,split,label,crowd"]
    for i in range(60):
        pixels, kind = rng.integers(0, 80, (12, 12, 3), dtype=numpy.uint8), i % 3
        pixels[..., kind] += 120
        Image.fromarray(pixels).save(tmp_path/f"{i}.png")
        lines.append(f"{i}.png,{'test' if i < 15 else 'train'},{kind},{(kind + (i % 5 == 0)) % 3}")
    (tmp_path/"index.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path/"cache"))
    return tmp_path


def test_own_images_are_distilled(own):
    values = dict(dataset="folder", root=str(own), noise="crowd", tau=None, folder=str(own/"out"))
    (record,) = walk(**values, **{**TINY, "ipcs": [2]})
    expected = {"n_train": 45, "n_classes": 3, "tau": None, "tau_hat": .2, "identifiable": True}
    assert {name: record[name] for name in expected} == expected
    assert record["mean"] > .5


OWN = """[[settings]]
dataset = "folder"
noise = "crowd"
tau = "none"
distiller = "dance"
ipcs = [1, 2]
n_eval = 1
changes = {iterations = 60, n_experts = 1, expert = {epochs = 1}}
"""
BARE = """
import sys
absent = ["IPython", "matplotlib", "nbdev", "pandas", "papermill", "psutil", "sklearn", "snakemake", "tqdm", "typer"]
sys.modules.update(dict.fromkeys(absent)) # as if not installed
from dd_lnl import training
training.SAVE_EVERY = 0. # so that it is cut in the middle of a run
from dd_lnl.bare import main
main()
"""


def test_a_packed_profile_is_cut_on_a_bare_machine_continued_elsewhere_and_merged(own, tmp_path_factory):
    place = tmp_path_factory.mktemp("bare")
    (place/"own.toml").write_text(OWN)
    def run(folder):
        command = [sys.executable, "-c", BARE, "--device", "cpu"]
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    where = ["--profile", place/"own.toml", "--root", own, "--folder", place/"home"]
    assert "run.py --device cuda" in said_by("pack", "--to", place/"packed", *where)
    cut, stop = run(place/"packed"), time.monotonic() + 120
    sign = "packed/outputs/own/cache/unfinished/*/dance.pt"
    while not list(place.glob(sign)) and cut.poll() is None and time.monotonic() < stop:
        time.sleep(.005)
    cut.kill()
    cut.wait()
    assert not list(place.glob("packed/outputs/own/records/*")) # it was in the middle
    shutil.move(place/"packed", place/"elsewhere")
    said = run(place/"elsewhere").communicate()[0]
    assert "2 of 2 cells are finished" in said and "folder_crowd_dance_dance_ipc2_seed0: " in said
    taken = said_by("merge", place/"elsewhere/outputs/own", "--folder", place/"home")
    assert "own: 2 records, 2 synthetic sets, 1 experts" in taken
    [s] = profiles.profile(str(place/"own.toml"), root=str(own), folder=str(place/"home"))
    assert all(finished(s, cell) for cell in s.cells) # here it counts as computed
    walk(**tomllib.loads(OWN)["settings"][0] | {"tau": None}, root=str(own), folder=str(place/"whole"))
    assert records(place/"home") == records(place/"whole")


def test_the_baseline_of_own_images_has_three_numbers(own):
    command = [sys.executable, "-m", "dd_lnl", "run", "--dataset", "folder", "--root", own, "--noise", "crowd",
               "--tau", "none", "--distiller", "full", "--n-eval", "2", "--folder", own/"out"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and "folder_crowd_full_full_all_seed0: " in ended.stdout, ended.stderr
    (path,) = (own/"out/trial/records").iterdir()
    record = json.loads(path.read_text())
    assert EVERY_RECORD <= record.keys() and (record["ipc"], record["protocol"], record["n"]) == (None, "full", 2)
    for name in ("", "noisy_val_", "best_on_test_"):
        assert record[f"{name}mean"] == pytest.approx(sum(record[f"{name}accuracies"]) / 2) and f"{name}std" in record
    assert len(record["curve"]) == record["config"]["recipe"]["epochs"]
    assert record["curve"][-1] == pytest.approx(record["mean"])
