"""The whole way, from a command to records on disk: computed, refused, repeated, killed and continued, damaged."""
import ctypes, json, subprocess, sys, time
from pathlib import Path

import nbformat, psutil, pytest, typer
from conftest import ROOT
from typer.testing import CliRunner

from dd_lnl import cli, experiment, results
from dd_lnl.core import InputError

TINY = dict(ipcs=[1, 2], n_eval=1, changes={"iterations": 4, "n_experts": 1, "expert": {"epochs": 1}})
RANDOM = dict(distiller="random", protocol="dance", ipcs=[1], n_eval=1)
SAID_BY_ALL = {"profile", "dataset", "noise", "tau", "tau_hat", "distiller", "protocol", "ipc", "seed", "n", "mean", "std", "accuracies",
               "identifiable", "config", "wall_s", "peak_mib", "device", "threads", "versions", "commit", "key"}


def papermill(notebook, output, **parameters):
    "Execute an experiment notebook as one would by hand."
    command = [sys.executable, "-m", "papermill", "-k", "python3", f"nbs/experiments/{notebook}.ipynb", output, "-y", json.dumps(parameters)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def walk(**values):
    "The same as the setting notebook, without one."
    s = experiment.setting(**values)
    ready = experiment.prepare(s)
    trained = experiment.experts(s, ready)
    for ipc in s.ipcs: experiment.evaluated(s, ready, ipc, experiment.distilled(s, ready, ipc, trained))


def records(folder):
    "What is recorded below `folder`, less what two runs of one cell may differ in."
    read = {path.stem: json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/records/*.json"))}
    return {name: {k: v for k, v in record.items() if k not in ("profile", "wall_s", "distil_s", "peak_mib", "commit")}
            for name, record in read.items()}


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
        assert SAID_BY_ALL <= r.keys()
        assert (r["tau"], r["distiller"], r["protocol"], r["identifiable"]) == (.4, "dance", "dance", True)
        assert abs(r["tau_hat"] - .4) < .05 and .1 < r["mean"] < 1 and r["config"]["distil"]["iterations"] == 4


def test_each_stage_is_shown(done):
    outputs = [o for cell in nbformat.read(done/"executed.ipynb", 4).cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 5 # T, images, losses, two synthetic sets


def test_a_cell_repeats_itself_and_another_seed_does_not(done, tmp_path):
    walk(folder=str(tmp_path/"again"), **TINY)
    assert records(tmp_path/"again") == records(done)
    walk(folder=str(tmp_path/"other"), **{**TINY, "ipcs": [1], "seed": 1})
    (other,), first = records(tmp_path/"other").values(), list(records(done).values())[0]
    assert (other["seed"], other["ipc"]) == (1, first["ipc"])
    assert other["tau_hat"] != first["tau_hat"] and other["accuracies"] != first["accuracies"]


def first_cells(notebook, **parameters):
    "Run a notebook's parameters, what papermill writes after them, and the cell that checks them."
    parameters_cell, check = [c.source for c in nbformat.read(ROOT/f"nbs/experiments/{notebook}.ipynb", 4).cells if c.cell_type == "code"][:2]
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    exec("\n".join([parameters_cell, given, check]), names := {})
    return names["s"]


@pytest.mark.parametrize("notebook, distiller", [("setting", "dance"), ("baseline", "full")])
def test_notebooks_check_their_parameters(notebook, distiller):
    s = first_cells(notebook, tau=.2)
    assert (s.tau, s.distiller) == (.2, distiller)
    for wrong, says in [({"tua": .2}, "Unknown parameter 'tua': did you mean 'tau'"), ({"seed": .5}, "'seed' takes int, but was given 0.5"),
                        ({"tau": "0.4"}, "'tau' takes float"), ({"protocol": "dence"}, "did you mean 'dance'")]:
        with pytest.raises(InputError, match=says): first_cells(notebook, **wrong)


def test_papermill_ends_in_an_error_before_anything_is_written(tmp_path):
    ended = papermill("setting", tmp_path/"executed.ipynb", tua=.4, folder=str(tmp_path/"out"))
    assert ended.returncode != 0 and ended.stderr.strip().splitlines()[-1].startswith("InputError: Unknown parameter 'tua': did you mean 'tau'?")
    assert not (tmp_path/"out").exists()


def test_the_baseline_records_three_numbers(tmp_path):
    ended = papermill("baseline", tmp_path/"executed.ipynb", folder=str(tmp_path), n_eval=1)
    assert ended.returncode == 0, ended.stderr
    (path,) = (tmp_path/"trial/records").iterdir()
    record = json.loads(path.read_text())
    assert SAID_BY_ALL <= record.keys() and (record["distiller"], record["ipc"], record["protocol"]) == ("full", None, "full")
    assert record["mean"] == record["curve"][-1] and record["best_on_test_mean"] == max(record["curve"])
    assert {"noisy_val_mean", "noisy_val_std", "noisy_val_accuracies", "best_on_test_std", "best_on_test_accuracies"} <= record.keys()
    assert .1 < record["mean"] < record["best_on_test_mean"] # forty labels in a hundred are wrong, and memorised by the end


# A profile of two settings in the place of `digits`, reproduced one setting after the other, without its figures.
DRIVER = f"""
import sys
from dd_lnl import cli, experiment
experiment.PROFILES["tiny"] = lambda **common: [experiment.setting(**v, **common) for v in ({TINY}, {RANDOM})]
cli.FIGURES = ()
if sys.argv[1] == "status": cli.status("tiny", folder=sys.argv[2])
else: cli.reproduce("tiny", folder=sys.argv[2], jobs=1)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    "A driver, and a folder in which it was killed when one of three cells was done; what ran then, and the state it left."
    folder = tmp_path_factory.mktemp("killed")
    (folder/"driver.py").write_text(DRIVER)
    ctypes.CDLL(None).prctl(36, 1) # PR_SET_CHILD_SUBREAPER: orphans are handed to us, as a desktop session does
    driver = subprocess.Popen([sys.executable, folder/"driver.py", "run", folder/"out"], stderr=subprocess.DEVNULL)
    try:
        stop = time.monotonic() + 120
        while not list(folder.glob("out/tiny/records/*.json")) and driver.poll() is None and time.monotonic() < stop: time.sleep(.02)
        running = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.kill()
        driver.wait()
        ctypes.CDLL(None).prctl(36, 0)
    return folder, running


def state(folder): return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("out/tiny/records/*.json")}


def alive(processes):
    "Those that still run; one that only waits for its parent to take notice does not."
    return [p for p in processes if psutil.pid_exists(p.pid) and p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def state(folder): return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.glob("out/tiny/records/*.json")}


def test_killing_reproduce_kills_its_notebooks(killed):
    folder, running = killed
    assert len(running) == 2 # papermill and a kernel
    stop = time.monotonic() + 10
    while alive(running) and time.monotonic() < stop: time.sleep(.1)
    assert alive(running) == []
    assert [name.split("_")[4] for name in state(folder)] == ["ipc1"] # it was in mid-run


def test_reproduce_continues_and_repeats_nothing(killed, done, tmp_path):
    folder, _ = killed
    walk(folder=str(tmp_path), **RANDOM)
    (whole,) = (tmp_path/"trial/records").iterdir()
    half = folder/"out/tiny/records"/whole.name
    before = state(folder)
    half.write_text(whole.read_text()[:whole.stat().st_size // 2])
    with pytest.warns(UserWarning, match=half.name): assert results.load("tiny", folder/"out").ipc.tolist() == [1] # not drawn
    run = lambda what: subprocess.run([sys.executable, folder/"driver.py", what, folder/"out"], capture_output=True, text=True, check=True).stdout
    status = run("status")
    assert "1/2  digits_sym0.4_dance_dance_seed0  (IPC 2 missing)" in status
    assert "0/1  digits_sym0.4_random_dance_seed0  (IPC 1 outdated or damaged)" in status
    assert "1 of 3 cells of tiny are finished. Continue with: dd_lnl reproduce --profile tiny --folder" in status
    run("run")
    after = state(folder)
    assert before.items() <= after.items() and len(after) == 3 # what was finished was not touched
    assert records(folder/"out") == records(done) | records(tmp_path) # and the rest is as if nothing had happened


@pytest.mark.parametrize("name", ["run", "reproduce", "status"])
def test_every_option_is_explained(name):
    command = typer.main.get_command(cli.app).commands[name]
    assert command.help and {p.name for p in command.params if not p.help} == set()
    assert "Show this message" in CliRunner().invoke(cli.app, [name, "--help"]).output


def dd_lnl(*args): return subprocess.run([sys.executable, "-m", "dd_lnl", *args], cwd=ROOT, capture_output=True, text=True)


def test_help_names_the_commands():
    shown = dd_lnl("--help")
    assert shown.returncode == 0 and all(name in shown.stdout for name in ("run", "reproduce", "status"))


def test_bad_input_is_one_line_without_a_traceback(tmp_path):
    ended = dd_lnl("run", "--dataset", "digit", "--folder", str(tmp_path/"out"))
    assert ended.returncode != 0 and ended.stdout == "" and not (tmp_path/"out").exists()
    assert ended.stderr == ("dd_lnl: Unknown data set 'digit': did you mean 'digits'? valid are digits, cifar10, cifar100, "
                            "tinyimagenet, folder.\n")
