"""Tails, un-absorbing, the law, efficiency and privacy: drawn from the records that feed them, and told in reports."""
from contextlib import redirect_stdout
from io import StringIO
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat, pandas as pd, pytest
from conftest import ROOT
from scipy.special import expit

from dd_lnl import engine, law, metadata, verify
from dd_lnl.beyond import MEASUREMENTS, answers
from dd_lnl.core import Cell, InputError, read_json, write_json
from dd_lnl.profiles import profile
from dd_lnl.report import front
from dd_lnl.results import load
from dd_lnl.words import ALT_TEXTS, CAPTIONS

BEYOND = {"tails", "unabsorb", "law", "efficiency"}


@pytest.mark.parametrize("name, beyond, others", [
    ("digits", {"efficiency"}, {"figure_2", "figure_4", "figure_5", "claims"}),
    ("digits-repeats", set(), {"figure_2"}),
    ("digits-law", {"law", "efficiency"}, {"figure_2", "claims"}),
    ("digits-tails", {"tails", "efficiency"}, {"figure_2", "claims"}),
    ("digits-unabsorb", {"unabsorb"}, {"figure_2", "figure_4", "figure_5"}),
    ("cifar-beyond", {"tails", "unabsorb", "efficiency"}, {"figure_2", "figure_4", "claims"}),
    ("paper", {"law", "efficiency"}, {"figure_2", "figure_4", "figure_5", "claims"})])
def test_a_profile_draws_what_its_records_feed(name, beyond, others):
    drawn = {*engine.figures_for(profile(name))}
    assert drawn & BEYOND == beyond
    assert drawn & {"figure_2", "figure_4", "figure_5", "claims"} == others


def write(folder, distiller, ipc, mean, **fields):
    "A made-up record of profile `planted`, which no table of profiles knows."
    plain = dict(profile="planted", dataset="digits", noise="sym", tau=.4, distiller=distiller, protocol="dance",
                 ipc=ipc, seed=0, imbalance=1., correction="none") | fields
    cell = Cell(**plain)
    tail = .9 if cell.imbalance == 1 else .7 if distiller == "full" else .5
    if cell.imbalance == 50 and distiller != "full": # not identifiable, so in no mean with others
        tail = 0.
    record = plain | dict(
        tau_hat=cell.tau, n=2, mean=mean, std=.01, accuracies=[mean - .01, mean + .01],
        identifiable=cell.imbalance < 50,
        n_train=1000, n_test=1000, n_classes=10, wall_s=4., distil_s=10., experts_s=0., peak_mib=500.,
        device="a laptop", config={}, recall={"last": [.9] * 7 + [tail] * 3}, commit="abc", versions={"torch": "2"})
    if cell.protocol == "full":
        record |= dict(noisy_val_mean=mean, noisy_val_std=.01, wall_s=40.)
    if cell.correction != "none":
        record |= dict(transition={"true": [[.6, .4], [.4, .6]], "correction": [[.7, .3], [.3, .7]]})
    write_json(folder/"planted"/"records"/f"{cell.id}.json", record)


def exact(tau, ipc):
    "An accuracy that follows a law."
    terms = law.terms(pd.DataFrame({"ipc": [ipc], "tau": [tau], "n_classes": [10]}))[0]
    return float(expit(terms @ [.5, 1., -.2, .8, .1, .4, 0]))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A profile whose records feed all four.

    The law is exact, tails lose 20 points and 70 where no method can know them, a correction gives 7 of 10 back under
    structured noise and 3 under symmetric noise, and its matrix is 10 points off.
    """
    folder = tmp_path_factory.mktemp("planted")
    for seed, tau, ipc in product((0, 1), (0., .2, .4, .6), (1, 5, 10, 50)):
        write(folder, "dance", ipc, exact(tau, ipc), tau=tau, seed=seed)
    for seed, tau in product((0, 1), (0., .2, .4, .6)):
        write(folder, "full", None, .8 - tau, tau=tau, protocol="full", seed=seed)
        write(folder, "full", None, .8 - tau / 2, tau=tau, seed=seed)
    for seed in (0, 1):
        for distiller, ipc in [("dance", 10), ("full", None)]:
            write(folder, distiller, ipc, .7, imbalance=10., seed=seed)
            write(folder, distiller, ipc, .7, imbalance=50., seed=seed)
        noisy = exact(0., 10) - .1
        write(folder, "dance", 10, noisy, noise="asym", seed=seed)
        write(folder, "dance", 10, noisy + .07, noise="asym", seed=seed, correction="forward_confident")
        write(folder, "dance", 10, exact(.4, 10) + .03, seed=seed, correction="forward_confident")
    return folder


def execute(notebook, folder):
    "Run a figure notebook's code on a profile, without a kernel; what it printed."
    cells = [cell.source for cell in nbformat.read(ROOT/f"nbs/experiments/{notebook}.ipynb", 4).cells
             if cell.cell_type == "code"]
    with redirect_stdout(StringIO()) as printed:
        exec("\n".join([cells[0], f"profile, folder = 'planted', {str(folder)!r}", "display = print", *cells[1:]]), {})
    plt.close("all")
    return printed.getvalue()


@pytest.fixture(scope="module")
def printed(planted):
    "What each notebook printed when it drew what was planted."
    return {notebook: execute(notebook, planted) for notebook in BEYOND}


@pytest.mark.parametrize("notebook, picture, says", [
    ("tails", "tails", "the tail's recall is -20.0 points"), ("unabsorb", "unabsorb", "confident joint +7.0"),
    ("tails", "tails", "not identifiable: digits, DANCE, imbalance 50, τ = 0.4: the tail's recall is -70.0 points"),
    ("unabsorb", "unabsorb", "confident joint +4.0"), ("unabsorb", "unabsorb", "asymmetric τ = 0.4 10.0 (40.0)"),
    ("law", "law", "a rate between others, left out: points off on average, law 0.0"),
    ("law", "law", "(extrapolated): points off on average, law 0.0"), ("law", "law", "new seed: 0.00 off on average"),
    ("efficiency", "efficiency", "stopped by noisy labels: pays from network")])
def test_a_notebook_draws_and_says_what_was_planted(planted, printed, notebook, picture, says):
    assert says in printed[notebook]
    for ending in ("png", "pdf"):
        assert list((planted/"planted"/"figures").glob(f"{picture}*.{ending}"))
    assert notebook in ALT_TEXTS and notebook in CAPTIONS


def fronted(folder, *notebooks):
    "The front page of a report in which these notebooks were executed."
    made = {name: nbformat.read(ROOT/f"nbs/experiments/{name}.ipynb", 4) for name in notebooks}
    return front(folder/"planted", load("planted", folder, every=True), made)


def test_a_report_answers_what_its_figures_show(planted, printed):
    text = fronted(planted, *BEYOND)
    for name in BEYOND:
        measurement = MEASUREMENTS[name]
        assert f"**{measurement.question}** {measurement.lead}" in text and CAPTIONS[name] in text
    assert "same recipe: DANCE -20.0" in text and "DANCE +7.0 of 10.0 points" in text
    assert "sets of clean labels: DANCE not measured" in text
    assert MEASUREMENTS["tails"].question not in fronted(planted, "law")


def test_what_is_not_there_is_not_answered(planted, tmp_path):
    assert answers("tails", planted, ("planted",)) and answers("tails", tmp_path, ("planted",)) == {}
    write(tmp_path, "dance", 10, .8)
    write(tmp_path, "full", None, .8)
    assert answers("tails", tmp_path, ("planted",)) == answers("law", tmp_path, ("planted",)) == {}
    for notebook, lacks in [("unabsorb", "No set was judged with a correction"), ("law", "three sizes and three")]:
        with pytest.raises(InputError, match=lacks):
            execute(notebook, tmp_path)


def test_long_tails_and_corrections_are_compared_with_nothing_else(planted):
    records = verify.read_run(planted/"planted").records
    usual = {cell: record for cell, record in records.items()
             if record["imbalance"] == 1 and record["correction"] == "none"}
    assert len(usual) < len(records)
    assert verify.verdict_table(records).equals(verify.verdict_table(usual))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    "What a rehearsed attack leaves, and whether a second one reads the shadow models of the first."
    folder = tmp_path_factory.mktemp("attacked")
    cells = [cell.source for cell in nbformat.read(ROOT/"nbs/experiments/privacy.ipynb", 4).cells
             if cell.cell_type == "code"]
    chosen = f"rehearse, ipc_random, folder = True, [2, 4], {str(folder)!r}"
    ways = "ways = ['dance', 'dance from noise', 'datm', 'random']"
    stamps = []
    for _ in range(2):
        with redirect_stdout(StringIO()) as printed:
            exec("\n".join([cells[0], chosen, ways, *cells[1:]]), {})
        stamps.append({path: path.stat().st_mtime_ns for path in (folder/"privacy-rehearsed"/"cache").iterdir()})
    return folder, printed.getvalue(), stamps


def test_an_attack_continues_and_is_answered(attacked):
    folder, printed, (first, second) = attacked
    assert first == second and len(first) == 5 * 4 and "in all about 0 s on one core" in printed
    [sentences] = answers("privacy", folder, ("privacy-rehearsed",)).values()
    text = " ".join(sentences)
    for words in ("digits, 4 shadow models: DANCE ", "DANCE from noise ", "DATM ", "4 random images a class ",
                  "from noise less from images", "Correctly labelled images: "):
        assert words in text
    assert "starting canaries" in printed and "the nearest of 1297 training images" in printed
    assert answers("privacy", folder) == {} # a rehearsal is no answer
    assert (folder/"privacy-rehearsed"/"privacy.png").exists()


def test_starting_images_are_those_that_a_set_started_from(attacked):
    result = read_json(attacked[0]/"privacy-rehearsed"/"privacy.json")
    nearest = {way: own["nearest"] for way, own in result["neighbours"].items()}
    assert nearest["dance"] == nearest["datm"] == 1 and nearest["dance from noise"] < .1 # two iterations move little
    assert result["share"]["random 4"] == pytest.approx(2 * result["share"]["random 2"]) == pytest.approx(40 / 648.5)


def test_metadata_count_what_a_figure_rests_on(planted, printed):
    entries = {Path(entry["file"]).name: entry for entry in metadata.manifest_of(planted/"planted", planted)}
    minutes = {name: entry["core_minutes"] for name, entry in entries.items()}
    assert ALT_TEXTS["tails"] == entries["tails_ipc10.png"]["comment"]
    assert minutes["law.png"] < minutes["tails_ipc10.png"]
