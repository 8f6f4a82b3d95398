"""What the stages of a setting promise: their parameters, devices, keys and numbers."""
import ast
from dataclasses import fields

import nbformat, pytest
from conftest import ROOT

from dd_lnl import engine
from dd_lnl.engine import NOT_FOR_BASELINE, setting_entry
from dd_lnl.setting import Setting, setting
from dd_lnl.store import record_key


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
