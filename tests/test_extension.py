"""Methods from a file of one's own: their keys follow the file, and what is wrong with it is said in a sentence."""
import pytest, torch
from typer.testing import CliRunner

from dd_lnl import cli, methods
from dd_lnl.core import InputError
from dd_lnl.exchange import evaluate_folder, export_set, read_ours
from dd_lnl.experiment import evaluated
from dd_lnl.profiles import profile
from dd_lnl.setting import setting
from dd_lnl.store import distilled, experts, experts_key, prepare, record_key, set_key

DISTILLER = """
from dataclasses import dataclass
import torch
from dd_lnl import coresets
from dd_lnl.core import override
from dd_lnl.methods import Distiller

@dataclass(frozen=True)
class Config:
    ipc: int
    strength: float = 1.
    warm_up: int = 0

def preset(dataset, ipc, **changes): return override(Config(ipc), **changes)

def pretrain(train, config, *, rng, progress=None, checkpoint=None): return config.strength

def distil(train, config, *, experts=None, rng, progress=None, checkpoint=None):
    return coresets.random(train, coresets.preset("", config.ipc), rng=rng)

DISTILLERS = {"mine": Distiller(distil, preset, protocol="dance", pretrain=pretrain)}
"""
NOISE_AND_LOSS = """
def noise(train, tau, seed): return (train.labels + 1) % train.n_classes
def loss(logits, y): return (logits.softmax(1) - y).abs().sum(1).mean()
SYNTHETIC = {"next": noise}
ROBUST = {"mae": loss}
"""
GRID = """[[settings]]
dataset = "digits"
noise = "sym"
tau = 0.2
distiller = ["mine", "dance"]
extension = "mine.py"
"""


@pytest.fixture
def write(tmp_path):
    "Writes an extension and gives back its path; afterwards nothing of it is in the tables."
    def write(text, name="mine.py"):
        (tmp_path/name).write_text(text)
        return str(tmp_path/name)
    yield write
    for source in [*methods.EXTENSIONS]:
        methods.forget(source)


def test_keys_follow_the_file(write):
    def keys(text):
        s = setting(distiller="mine", extension=write(text), folder="nowhere", ipcs=[1])
        return set_key(s, 1), record_key(s, 1), experts_key(s)
    before = keys(DISTILLER)
    assert keys(DISTILLER.replace("\ndef pretrain", "# how strong\ndef pretrain")) == before
    after = keys(DISTILLER.replace("strength: float = 1.", "strength: float = 1.\n    more: int = 2"))
    assert all(old != new for old, new in zip(before, after))
    after = keys(DISTILLER.replace("return config.strength", "return 2 * config.strength"))
    assert all(old != new for old, new in zip(before, after))


def test_keys_follow_a_noise_and_a_loss(write):
    values = dict(noise="next", folder="nowhere")
    def keys(text):
        path = write(text)
        noisy = setting(extension=path, **values)
        robust = setting(extension=path, distiller="full", protocol="mae", folder="nowhere")
        usual = setting(extension=path, folder="nowhere")
        return set_key(noisy, 1), record_key(noisy, 1), record_key(robust), record_key(usual, 1)
    before = keys(NOISE_AND_LOSS)
    assert keys(NOISE_AND_LOSS + "# a comment\n") == before
    after = keys(NOISE_AND_LOSS.replace("+ 1", "+ 2"))
    assert [old != new for old, new in zip(before, after)] == [True, True, True, False]
    assert before[3] == record_key(setting(folder="nowhere"), 1) # whoever uses none of it has the usual keys


def test_keys_do_not_follow_the_place(write, tmp_path):
    (tmp_path/"elsewhere").mkdir()
    keys = []
    for name in ("mine.py", "elsewhere/mine.py"):
        path = write(DISTILLER, name)
        keys.append(record_key(setting(distiller="mine", extension=path, folder="nowhere", ipcs=[1]), 1))
        methods.forget(path)
    assert keys[0] == keys[1]


def test_own_experts_are_keyed_by_every_field(write):
    path = write(DISTILLER)
    keys = {experts_key(setting(distiller="mine", extension=path, changes=changes, ipcs=[1]))
            for changes in ({}, {"strength": 2.}, {"warm_up": 1})}
    assert len(keys) == 3


def test_a_setting_is_computed(write, tmp_path):
    s = setting(distiller="mine", extension=write(DISTILLER), folder=str(tmp_path/"outputs"), ipcs=[2], n_train=5,
                changes={"warm_up": 0})
    ready = prepare(s)
    trained = experts(s, ready)
    assert trained == 1.
    assert distilled(s, ready, 2, trained).images.shape == (20, 1, 8, 8)


@pytest.mark.parametrize("returned, says", [
    ("3", "returned int, but must return a SyntheticSet"),
    ("replace(syn, images=syn.images[:9])", r"for IPC 2 must return \(20, 1, 8, 8\) and \(20, 10\)"),
    ("replace(syn, space=Space())", "in another space"),
    ("replace(syn, images=syn.images / 0)", "values that are not finite"),
])
def test_a_wrong_set_is_refused(write, tmp_path, returned, says):
    text = DISTILLER.replace("    return coresets.random", "    syn = coresets.random")
    text = text.replace("rng=rng)\n", f"rng=rng)\n    return {returned}\n", 1)
    path = write("from dataclasses import replace\nfrom dd_lnl.core import Space\n" + text)
    s = setting(distiller="mine", extension=path, folder=str(tmp_path/"outputs"), ipcs=[2], n_train=5)
    with pytest.raises(InputError, match=says):
        distilled(s, prepare(s), 2)


@pytest.mark.parametrize("old, new, says", [
    ("override(Config(ipc), **changes)", "Config(1)", "must return a dataclass whose field ipc is 2"),
    ("override(Config(ipc), **changes)", "{}", "must return a dataclass"),
    ("override(Config(ipc), **changes)", "Config(ipc, **changes)", "does not take these changes"),
    ("override(Config(ipc), **changes)", "override(Config(ipc), **changes)", "Unknown parameter 'strenth'"),
])
def test_a_wrong_preset_is_refused(write, old, new, says):
    changes = {"strenth": 2.} if "changes" in new else {}
    with pytest.raises(InputError, match=says):
        setting(distiller="mine", extension=write(DISTILLER.replace(old, new)), ipcs=[2], changes=changes)


def test_profile_names_the_file_beside_it(write, tmp_path):
    write(DISTILLER)
    (tmp_path/"grid.toml").write_text(GRID)
    settings = profile(str(tmp_path/"grid.toml"))
    assert [s.extension for s in settings] == [str(tmp_path/"mine.py")] * 2


def test_the_plan_says_that_nobody_knows_what_it_costs(write, tmp_path):
    write(DISTILLER)
    (tmp_path/"grid.toml").write_text(GRID)
    plan = ["plan", "--profile", str(tmp_path/"grid.toml"), "--folder", str(tmp_path)]
    lines = CliRunner().invoke(cli.app, plan).output.splitlines()
    [mine], [dance] = ([line for line in lines if f" {name} " in line] for name in ("mine", "dance"))
    assert "unknown" in mine and "unknown" not in dance
    assert lines[-1].endswith("without 1 whose distiller nobody has timed: compute one of their cells")


def test_an_exported_set_needs_its_method_no_more(write, tmp_path):
    path = write(DISTILLER)
    s = setting(distiller="mine", extension=path, folder=str(tmp_path/"outputs"), ipcs=[2], n_eval=1, judge_steps=30)
    ready, cell = prepare(s), s.cells[0].id
    syn = distilled(s, ready, 2, experts(s, ready))
    record = evaluated(s, ready, 2, syn)
    with pytest.raises(InputError, match="made with mine of mine.py: name that file, as --extension"):
        export_set(s.home, cell, tmp_path/"out")
    to = export_set(s.home, cell, tmp_path/"out", extension=path)
    methods.forget(path)
    loaded, manifest = read_ours(to)
    assert manifest["distiller"] == "mine" and torch.allclose(loaded.images, syn.images, atol=1e-5)
    assert evaluate_folder(to, n_eval=1) == pytest.approx(record["accuracies"], abs=.02)
