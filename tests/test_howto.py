"""The how-to pages: their files hold methods that work, their commands exist, and a new method runs end to end."""
import re, shlex, subprocess, sys
from functools import partial

import nbformat, numpy as np, pandas as pd, pytest, torch, typer
from conftest import ROOT

from dd_lnl import cli, dance, data, methods
from dd_lnl.arrays import from_arrays
from dd_lnl.core import LabelledImages, generator
from dd_lnl.networks import ARCHITECTURES, call, convnet, initial
from dd_lnl.profiles import profile

PAGES = {path.stem: nbformat.read(path, 4) for path in sorted((ROOT/"nbs/howto").glob("*.ipynb"))}


def files_in(page):
    "The files that a page writes: {name: text}."
    files = [cell.source.split("\n", 1) for cell in PAGES[page].cells if cell.source.startswith("%%writefile ")]
    return {first.split()[1]: text for first, text in files}


def commands_in(page):
    "Every command of ours that a page shows or runs, as a list of words without the program."
    commands = []
    for cell in PAGES[page].cells:
        blocks = re.findall(r"```sh\n(.*?)```", cell.source, re.S) if cell.cell_type == "markdown" else [cell.source]
        for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
            if line.startswith("dd_lnl "):
                commands.append(shlex.split(line.split(" 2> ")[0])[1:])
    return commands


@pytest.fixture
def tables_as_before():
    yield
    for source in [*methods.EXTENSIONS]:
        methods.forget(source)


def written(page, folder):
    "Write a page's files; the paths by name."
    paths = {name: folder/name for name in files_in(page)}
    for name, text in files_in(page).items():
        paths[name].write_text(text + "\n")
    return paths


def test_there_are_pages():
    assert {"cifar10", "own_images", "own_arrays", "new_distiller", "new_noise", "gpu", "cluster",
            "own_grid"} <= PAGES.keys()


def refusal(words):
    "Why the command line refuses a command; None if it takes it."
    group = typer.main.get_command(cli.app)
    name, *options = words
    try:
        group.commands[name].make_context(name, options)
    except Exception as error: # typer brings its own copy of click, and with it of click's exceptions
        return str(error) or repr(error)


@pytest.mark.parametrize("page, words", [pytest.param(page, words, id=f"{page}: {' '.join(words)[:60]}")
                                         for page in PAGES for words in commands_in(page)])
def test_commands_exist(page, words):
    assert refusal(words) is None


@pytest.mark.parametrize("words", [["rnu"], ["run", "--tua", "0.4"], ["export"]])
def test_a_wrong_command_is_seen(words): assert refusal(words)


def test_a_distiller_in_40_lines(tmp_path, tables_as_before):
    [(name, text)] = files_in("new_distiller").items()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 40
    methods.load_extension(written("new_distiller", tmp_path)[name])
    train, _ = data.load("digits")
    few = LabelledImages(train.images[:200], train.labels[:200], train.class_names,
                         data.space("dance", "digits", train.images))
    dm = methods.DISTILLERS["dm"]
    first, again = (dm.distil(few, dm.preset("digits", 2, iterations=3), rng=generator(0, "dm")) for _ in range(2))
    start = dm.distil(few, dm.preset("digits", 2, iterations=0), rng=generator(0, "dm"))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, start.images)
    assert first.targets.argmax(1).tolist() == [c for c in range(10) for _ in range(2)]


def test_matching_brings_features_closer(tmp_path, tables_as_before):
    methods.load_extension(written("new_distiller", tmp_path)["dm.py"])
    train, _ = data.load("digits")
    few = LabelledImages(train.images, train.labels, train.class_names, data.space("dance", "digits", train.images))
    make = partial(convnet, few.in_shape, 10, 2, 16)
    others = [(make().body, theta) for theta in initial(lambda: make().body, generator(0, "others"), 5)]
    dm, gaps = methods.DISTILLERS["dm"], []
    for iterations in (0, 60):
        syn = dm.distil(few, dm.preset("digits", 1, iterations=iterations, width=16), rng=generator(0, "dm"))
        gap = 0.
        for net, theta in others: # networks that it was not matched in
            features = call(net, theta, few.inputs())
            real = torch.stack([features[few.labels == c].mean(0) for c in range(10)])
            gap += (call(net, theta, syn.images) - real).square().mean().item()
        gaps.append(gap)
    assert gaps[1] < gaps[0] / 2


def test_a_noise_model_and_a_loss(tmp_path, tables_as_before):
    from dd_lnl import noise, robust
    methods.load_extension(written("new_noise", tmp_path)["mine.py"])
    train, _ = data.load("digits")
    noisy, T = noise.noisy_labels("next_class", .3, train, 0, "digits")
    assert set(((noisy.observed - noisy.clean) % 10).tolist()) == {0, 1} and abs(noisy.tau_hat - .3) < .05
    assert T[9, 0] == .3 and T[0, 1] == .3
    loss, y = robust.ROBUST["mae"].loss, torch.eye(3)
    assert loss(100. * y, y) < 1e-6 and abs(loss(torch.zeros(3, 3), y) - 4 / 3) < 1e-6


def test_own_arrays_run(tmp_path, monkeypatch):
    "Every cell of the page, with less work in each."
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path) # the page changes the folder
    monkeypatch.setitem(ARCHITECTURES, "perceptron", None) # and adds this network
    source = "\n\n".join(cell.source for cell in PAGES["own_arrays"].cells if cell.cell_type == "code")
    source, n_cut = re.subn(r"\b(iterations|epochs|steps)=\d+", r"\1=2", source)
    shorter = source.replace("import evaluate\n", "import evaluate\nevaluate = partial(evaluate, max_steps=2)\n")
    assert n_cut == 5 and shorter != source
    names = {"partial": partial}
    exec(shorter, names)
    assert set(names["sets"]) == {"dance", "datm", "rcig"} and names["result"]["last"]
    assert [syn.targets.shape for syn in names["sets"].values()] == [(50, 10)] * 3
    assert names["sets"]["datm"].targets.min() >= 0 > names["sets"]["rcig"].targets.min()


@pytest.mark.parametrize("kind", [list, np.uint8, np.int32, np.int64, np.float32])
def test_labels_of_any_kind_give_the_same_set(kind):
    train, _ = data.load("digits")
    images, labels = train.images[:300], train.labels[:300]
    own = from_arrays((images[:, 0] * 16).numpy() / 16, kind(labels.tolist()))
    config = dance.preset("digits", 1, iterations=2, n_experts=1, width=8, expert={"epochs": 1})
    sets = [dance.distil(each, config, rng=generator(0, "distil"))
            for each in (own, LabelledImages(images, labels, train.class_names))]
    assert torch.equal(sets[0].images, sets[1].images)


def test_a_grid_of_ones_own(tmp_path):
    settings = profile(str(written("own_grid", tmp_path)["mine.toml"]))
    assert len(settings) == 12 and {s.profile for s in settings} == {"mine"}


GRID = """
[[settings]]
dataset = "digits"
noise = ["sym", "next_class"]
tau = [0.0, 0.4]
distiller = ["dm", "dance"]
controls = ["full", "random"]
ipcs = [1, 10]
n_train = 20
n_test = 10
n_eval = 2
judge_steps = 8
extension = "both.py"

[[settings]]
dataset = "digits"
noise = ["sym", "next_class"]
tau = [0.0, 0.4]
distiller = "full"
protocol = ["full", "ce", "mae"]
n_train = 20
n_test = 10
n_eval = 2
judge_steps = 8
extension = "both.py"
"""


@pytest.mark.slow
def test_methods_of_ones_own_run_end_to_end(tmp_path):
    "From a file to records, figures, verdicts and a report, without an edit of the package."
    dm, mine = files_in("new_distiller")["dm.py"], files_in("new_noise")["mine.py"]
    quick = dm.replace("iterations: int = 300", "iterations: int = 5")
    assert quick != dm
    (tmp_path/"both.py").write_text(f"{quick}\n{mine}\n")
    (tmp_path/"mine.toml").write_text(GRID)
    command = [sys.executable, "-m", "dd_lnl", "reproduce", "--profile", "mine.toml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    home = tmp_path/"outputs/mine"
    results = pd.read_csv(home/"tables/results.csv")
    assert {"dm", "dance", "random", "full"} <= set(results.distiller)
    assert set(results.protocol[results.distiller == "dm"]) == {"dm"} and "mae" in set(results.protocol)
    assert set(results.kind) == {"sym", "next_class"}
    verdicts = pd.read_csv(home/"tables/claims.csv")
    assert "dm" in set(verdicts.method)
    figures = {path.stem for path in (home/"figures").glob("*.png")}
    assert {"figure_1", "figure_2", "figure_own_next_class", "absorbed"} <= figures and "figure_5" not in figures
    page = (home/"report/index.html").read_text()
    assert "dm" in page and "next_class" in page and "mae" in page
    ended = subprocess.run([*command, "--dry-run"], cwd=tmp_path, capture_output=True, text=True)
    assert "0.0 missing" in ended.stdout and "Empty" not in ended.stderr
