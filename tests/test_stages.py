"""What the stages of a setting promise: their parameters, devices, keys and numbers."""
import ast, json, os, shutil, subprocess, sys
from contextlib import nullcontext
from dataclasses import fields, replace

import nbformat, pandas as pd, pytest, torch
from conftest import ROOT
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dd_lnl import core, coresets, dance, datm, engine, experiment, fused, networks, results, store, theory, training
from dd_lnl import trajectories, verdicts
from dd_lnl.core import generator, load_tensors, read_json
from dd_lnl.engine import NOT_FOR_BASELINE, setting_entry
from dd_lnl.experiment import evaluated, run_baseline
from dd_lnl.record import finished
from dd_lnl.setting import Setting, setting
from dd_lnl.store import distilled, experts, prepare, record_key


def parameters_of(notebook):
    "The assignments in the parameters cell of an experiment notebook, as plain values by name."
    cells = nbformat.read(ROOT/"nbs"/"experiments"/f"{notebook}.ipynb", 4).cells
    [cell] = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}


def disagreements(parameters, defaults, left_out=()):
    "Names that only one side has, and those with different defaults."
    wanted = {name: value for name, value in defaults.items() if name not in left_out}
    return sorted(name for name in parameters.keys() | wanted.keys()
                  if name not in parameters or name not in wanted or parameters[name] != wanted[name])


DEFAULTS = {**vars(setting()), "protocol": None} # lists and dictionaries as they are after the checks


@pytest.mark.parametrize("notebook, left_out", [("setting", ()), ("baseline", NOT_FOR_BASELINE)])
def test_parameters_cells_have_the_fields_of_a_setting(notebook, left_out):
    assert DEFAULTS.keys() == {field.name for field in fields(Setting)}
    parameters = parameters_of(notebook)
    assert disagreements(parameters, DEFAULTS, left_out) == []
    assert disagreements(parameters, DEFAULTS | {"a_new_field": 1}, left_out) == ["a_new_field"]
    assert disagreements(parameters, DEFAULTS | {"seed": 1}, left_out) == ["seed"]


OTHERS = dict(noise="asym", tau=.2, seed=1, n_train=20, n_test=5, n_eval=1, judge_width=8, deviations=True,
              resplit=True, threads=2, folder="elsewhere", profile="own") # than the defaults


def comes_back(s, notebook, fixed):
    "Whether the engine's notebook computes the record that the setting is waiting for."
    parameters = parameters_of(notebook) | setting_entry(s)["parameters"]
    return record_key(setting(**parameters, **fixed), s.cells[0].ipc) == record_key(s, s.cells[0].ipc)


def test_a_notebook_makes_the_record_that_is_waited_for(monkeypatch):
    baseline = setting(distiller="full", changes={"epochs": 2}, **OTHERS), "baseline", dict(distiller="full")
    control = setting(distiller="random", protocol="datm_lr", ipcs=[2], judge_steps=9,
                      datm_changes={"iterations": 7}, **OTHERS), "setting", {}
    robust = setting(distiller="full", protocol="elr", judge_steps=9, **OTHERS), "baseline", dict(distiller="full")
    assert comes_back(*baseline) and comes_back(*robust) and comes_back(*control)
    # the flips without mouse concern the baseline, too, which used to be run without them
    monkeypatch.setattr(engine, "NOT_FOR_BASELINE", (*NOT_FOR_BASELINE, "deviations"))
    assert not comes_back(*baseline)


class TwoDevices(Exception):
    "An operation got tensors of two devices."


class Far(TorchDispatchMode):
    "The device meta as if it had values; tensors may be copied between it and the CPU, and no more."
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = op._schema.name.removeprefix("aten::")
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        if name == "_local_scalar_dense" and args[0].is_meta:
            return .5 if args[0].dtype.is_floating_point else 0
        if name == "_to_copy" and args[0].is_meta and torch.device(kwargs.get("device") or "meta").type == "cpu":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "equal" and tensors[0].is_meta:
            return False
        if len({t.device.type for t in tensors}) > 1 and name not in ("_to_copy", "copy_"):
            raise TwoDevices(f"{name} of {[(t.device.type, tuple(t.shape)) for t in tensors]}")
        return op(*args, **kwargs)


def moved(ready):
    "What `prepare` returned, on the device meta."
    def far(images):
        return replace(images, images=images.images.to("meta"), labels=images.labels.to("meta"))
    return ready._replace(train=far(ready.train), test=far(ready.test))


SHORT_DATM = {"iterations": 3, "syn_steps": 2, "max_start": 3, "first_max": 2, "min_start": 0,
              "expert": {"n_experts": 1, "epochs": 5, "keep": 5}}
SHORT_DANCE = {"iterations": 3, "n_experts": 1, "expert": {"epochs": 1}}
SMALL = dict(n_train=20, n_test=5, n_eval=1, judge_steps=4)
FAR_CELLS = {
    "datm": dict(distiller="datm", ipcs=[2], changes=SHORT_DATM, controls=["agreement", "random@datm_lr"]),
    "dance": dict(distiller="dance", ipcs=[2], changes=SHORT_DANCE, controls=["random"]),
    "baseline": dict(distiller="full", changes={"epochs": 2}),
    "recipe": dict(distiller="full", protocol="dance"),
    "forward": dict(distiller="full", protocol="forward"),
    "elr": dict(distiller="full", protocol="elr"),
    "coteaching": dict(distiller="full", protocol="coteaching"),
    "dividemix": dict(distiller="full", protocol="dividemix", judge_steps=8),
}


def walk(s, ready):
    "Every stage of a setting with its controls."
    for part in s.parts:
        if part.distiller == "full":
            run_baseline(part, ready)
        else:
            [ipc] = part.ipcs
            evaluated(part, ready, ipc, distilled(part, ready, ipc, experts(part, ready)))


def on_one_device(judging):
    "Judging would quietly take place where the set is, and bring the test images there."
    def checked(synthetic, test, *args, **kwargs):
        if synthetic.images.device != test.images.device:
            raise TwoDevices("a set is not where the test images are")
        return judging(synthetic, test, *args, **kwargs)
    return checked


def on_far_device(s, ready, monkeypatch):
    "The same walk on a second device, which finds the files of the first one."
    monkeypatch.setattr(store, "pick_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(store, "precision", lambda *_: nullcontext())
    monkeypatch.setattr(networks, "autocast", lambda x: nullcontext()) # knows no such device
    monkeypatch.setattr(fused, "works", lambda device: False)
    members = core.members
    monkeypatch.setattr(core, "members", lambda labels, n: members(ready.train.labels, n))
    for module in (coresets, dance, datm, trajectories, training): # here the values of labels and pixels matter
        monkeypatch.setattr(module, "members", core.members, raising=False)
        monkeypatch.setattr(module, "fingerprint", lambda *_: core.fingerprint(*near), raising=False)
    for name in ("predict", "evaluate"):
        monkeypatch.setattr(store, name, on_one_device(getattr(store, name)))
    near = ready.train.images, ready.train.labels
    core.per_channel.cache_clear()
    try:
        with Far():
            walk(s, moved(ready))
    finally:
        core.per_channel.cache_clear()


@pytest.mark.parametrize("name", FAR_CELLS)
@pytest.mark.parametrize("is_continued", [False, True])
def test_no_stage_mixes_devices(name, is_continued, monkeypatch, tmp_path):
    s = setting(**{**SMALL, **FAR_CELLS[name]}, folder=str(tmp_path))
    ready = prepare(s)
    if is_continued: # from the files of another device
        walk(s, ready)
    on_far_device(s, ready, monkeypatch)


def read_to_cpu(s, path): return load_tensors(path) # as snapshots were read before


@pytest.mark.parametrize("module", [store, experiment], ids=["set", "snapshot"])
def test_the_watch_sees_what_is_read_to_the_wrong_device(module, monkeypatch, tmp_path):
    s = setting(**{**FAR_CELLS["datm"], "controls": []}, **SMALL, folder=str(tmp_path))
    ready = prepare(s)
    walk(s, ready)
    monkeypatch.setattr(module, "read", read_to_cpu)
    with pytest.raises(TwoDevices, match="not where the test images are"):
        on_far_device(s, ready, monkeypatch)


@pytest.fixture
def own_data(tmp_path):
    "A data set of one's own: two classes, told apart by brightness; its folder."
    lines = ["path,split,label"]
    for i in range(24):
        bright = i % 2
        pixels = torch.randint(128, (8, 8), generator=generator(i, "own")) + 128 * bright
        Image.fromarray(pixels.byte().numpy()).save(tmp_path/f"{i}.png")
        lines.append(f"{i}.png,{'test' if i >= 16 else 'train'},{'bright' if bright else 'dark'}")
    (tmp_path/"index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def replace_image(folder):
    Image.new("L", (8, 8), 77).save(folder/"0.png") # under the same name, in the same CSV


def rename_class(folder):
    index = folder/"index.csv"
    index.write_text(index.read_text().replace("dark", "night"))


@pytest.mark.parametrize("change", [replace_image, rename_class])
def test_a_record_of_changed_data_is_not_finished(change, own_data):
    s = setting(dataset="folder", root=str(own_data), noise="sym", tau=.2, distiller="random", protocol="dance",
                ipcs=[1], n_eval=1, judge_steps=2, folder=str(own_data/"outputs"))
    [cell] = s.cells
    walk(s, prepare(s))
    assert finished(s, cell)
    change(own_data)
    assert finished(s, cell) is None


KEYS = """
import json, sys

keys = []
for folder in sys.argv[1:]: # one process imports the libraries once
    sys.path[0] = folder
    for name in [name for name in sys.modules if name.split(".")[0] == "dd_lnl"]:
        del sys.modules[name]
    from dd_lnl import setting, store
    assert setting.__file__.startswith(folder)
    s = setting.setting(distiller="datm", ipcs=[1])
    keys.append([store.experts_key(s), store.set_key(s, 1), store.record_key(s, 1)])
print(json.dumps(keys))
"""


def keys_of(folders):
    "The keys of a cell's experts, set and record, by each of some copies of the package."
    ended = subprocess.run([sys.executable, "-c", KEYS, *folders], capture_output=True, text=True, check=True,
                           cwd=folders[0], env={**os.environ, "PYTHONPATH": ""})
    return json.loads(ended.stdout)


TEXT = [("store", '"The experts that all sizes of a setting share."', '"Experts."'),
        ("store", "# progress and checkpoint", "# how it goes"), ("datm", "# on logits", "# on the logits")]
BEHAVIOUR = [ # module, what stands there, what instead, which of the three keys change
    ("store", 'generator(s.seed, "experts")', 'generator(s.seed, "expert")', [True, True, True]),
    ("store", 'generator(s.seed, "distil",', 'generator(s.seed, "distill",', [False, True, True]),
    ("store", 'generator(s.seed, "evaluate",', 'generator(s.seed, "judge",', [False, False, True]),
    ("store", 'generator(s.seed, "training images")', 'generator(0, "training images")', [True, True, True]),
]


def edited(folder, edits): # (module, what stands there, what instead)
    "A folder with a copy of the package in which some edits were made."
    shutil.copytree(ROOT/"dd_lnl", folder/"dd_lnl", ignore=shutil.ignore_patterns("__pycache__"))
    for module, old, new in edits:
        file = folder/"dd_lnl"/f"{module}.py"
        source = file.read_text()
        assert old in source, old
        file.write_text(source.replace(old, new))
    return folder


def test_keys_follow_what_the_code_does(tmp_path):
    variants = [[], TEXT, *([edit[:3]] for edit in BEHAVIOUR)]
    folders = [edited(tmp_path/str(i), edits) for i, edits in enumerate(variants)]
    before, after_text, *others = keys_of(folders)
    assert after_text == before
    for (*_, new, changes), keys in zip(BEHAVIOUR, others, strict=True):
        assert [a != b for a, b in zip(before, keys)] == changes, new


def committed(profile, tau, seed):
    "A record of the repository: random images, one a class, under DANCE's protocol."
    return read_json(ROOT/"outputs"/profile/"records"/f"digits_sym{tau}_random_dance_ipc1_seed{seed}.json")


def agrees(mean, record):
    """Whether a mean accuracy may be the record's, computed on another processor, which gives other last bits.

    Training amplifies them, so the networks may differ as much as two draws of n networks do: the difference of two
    means has a standard deviation of sqrt(2 / n) times that of one network, and four of these are allowed.
    """
    return abs(mean - record["mean"]) <= 4 * record["std"] * (2 / record["n"])**.5


def test_a_committed_record_comes_out_again(tmp_path):
    record = committed("digits", 0.4, 0)
    others = [committed("digits-seeds", 0.4, seed) for seed in (1, 2)]
    others += [committed("digits", tau, 0) for tau in (0.2, 0.6)]
    assert not any(agrees(other["mean"], record) for other in others) # a wrong seed or rate would be seen
    names = ("dataset", "noise", "tau", "distiller", "protocol", "seed", "threads")
    values = {name: record[name] for name in names}
    s = setting(**values, ipcs=[record["ipc"]], n_eval=record["n"], folder=str(tmp_path))
    ready = prepare(s)
    assert ready.noisy.tau_hat == record["tau_hat"] # drawn on the CPU, the same everywhere
    again = evaluated(s, ready, 1, distilled(s, ready, 1))
    assert agrees(again["mean"], record), (again["accuracies"], record["accuracies"])


def test_controls_at_the_learned_step_size_leave_the_figures_alone(tmp_path):
    digits = results.load("digits", ROOT/"outputs")
    plain = digits[digits.protocol != "datm_lr"]
    controls = plain[(plain.protocol == "datm") & plain.distiller.isin(results.REAL_IMAGES)]
    assert len(controls)
    more = controls.assign(protocol="datm_lr", cell=controls.cell.str.replace("_datm_", "_datm_lr_"),
                           mean=controls["mean"] / 2)
    both = pd.concat([plain, more], ignore_index=True)
    for a, b in zip(results.panels(plain), results.panels(both), strict=True):
        pd.testing.assert_frame_equal(results.comparisons(a), results.comparisons(b))
        assert results.missing(a) == results.missing(b)
    judged = [verdicts.claims(frame).drop(columns="cases") for frame in (plain, both)]
    pd.testing.assert_frame_equal(*judged)
    lower = theory.credit(both).query("protocol == 'datm' and step == 'distilled'").gain.mean()
    assert lower > theory.credit(plain).query("protocol == 'datm' and step == 'distilled'").gain.mean()
    points = [results.comparable(results.points(frame)).reset_index(drop=True) for frame in (plain, both)]
    pd.testing.assert_frame_equal(*points)
