"""What the stages of a setting promise: their parameters, devices, keys and numbers."""
import ast
from contextlib import nullcontext
from dataclasses import fields, replace

import nbformat, pytest, torch
from conftest import ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dd_lnl import core, coresets, dance, datm, engine, experiment, fused, networks, store, training, trajectories
from dd_lnl.core import load_tensors
from dd_lnl.engine import NOT_FOR_BASELINE, setting_entry
from dd_lnl.experiment import evaluated, run_baseline
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


OTHERS = dict(noise="asym", tau=.2, seed=1, n_train=20, n_test=5, n_eval=1, judge_width=8, deviations=True, threads=2,
              folder="elsewhere", profile="own") # than the defaults


def comes_back(s, notebook, fixed):
    "Whether the engine's notebook computes the record that the setting is waiting for."
    parameters = parameters_of(notebook) | setting_entry(s)["parameters"]
    return record_key(setting(**parameters, **fixed), s.cells[0].ipc) == record_key(s, s.cells[0].ipc)


def test_a_notebook_makes_the_record_that_is_waited_for(monkeypatch):
    baseline = setting(distiller="full", changes={"epochs": 2}, **OTHERS), "baseline", dict(distiller="full")
    control = setting(distiller="random", protocol="datm_lr", ipcs=[2], judge_steps=9,
                      datm_changes={"iterations": 7}, **OTHERS), "setting", {}
    assert comes_back(*baseline) and comes_back(*control)
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
    for module in (coresets, dance, datm, trajectories, training): # here the values of labels and pixels matter
        monkeypatch.setattr(module, "members", lambda labels, n: core.members(ready.train.labels, n), raising=False)
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
    s = setting(**FAR_CELLS[name], **SMALL, folder=str(tmp_path))
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
