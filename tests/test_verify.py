"""`dd_lnl verify`: imagined rounding passes, planted faults are found by accuracies alone, and the command says so."""
import json, os, shutil, subprocess, sys
from dataclasses import replace

import numpy as np, pytest
from conftest import ROOT
from typer.testing import CliRunner

from dd_lnl import cli, evaluation, noise, profiles, training, verify
from dd_lnl.evaluation import judge_network
from dd_lnl.noise import corrupt, symmetric
from dd_lnl.tolerance import SET_SHARES, kinds_of_cells, moderated, numbers_of, origin_of, paired
from dd_lnl.training import fit
from dd_lnl.verdicts import CLAIMS
from dd_lnl.verify import Run, compare, is_reproduced

@pytest.fixture(scope="module")
def digits(): return verify.read_run(ROOT/"outputs"/"digits")


@pytest.fixture(scope="module", params=["digits", "digits-seeds"])
def committed(request): return verify.read_run(ROOT/"outputs"/request.param)


@pytest.fixture(scope="module")
def fresh(committed):
    "The committed records, as if networks had been drawn anew."
    return redrawn(committed.records)


def cells_only(committed, records):
    "A comparison without verdicts and tables, which take seconds."
    return compare(committed, Run(records, {}, "imagined"), only=[*committed.records])


def with_accuracies(record, change):
    "A record whose lists of accuracies are changed by a function."
    lists = {name: change(np.array(values)).tolist() for name, values in record.items() if name.endswith("accuracies")}
    means = {name.replace("accuracies", "mean"): float(np.mean(values)) for name, values in lists.items()}
    return record | lists | means | {"wall_s": -1.}


def redrawn(records, seed=0):
    "Records in which the networks of every cell are drawn anew from it."
    rng = np.random.default_rng(seed)
    return {cell: with_accuracies(record, lambda values: rng.choice(values, len(values)))
            for cell, record in records.items()}


# Rounding that passes. On numbers, so that hundreds of runs take seconds.
def resampled(numbers, rng):
    "Every mean from networks that are drawn anew from its cell: more than another processor changes."
    draws = rng.standard_normal(len(numbers)) * np.sqrt((1 - 1 / numbers.n) * numbers.variance / numbers.n)
    return numbers.assign(mean=numbers["mean"] + draws)


def new_draw(numbers, rng):
    "Every mean as that of a new draw of networks and sets: the most that the tolerance allows for."
    share = numbers.distiller.map(lambda distiller: SET_SHARES[origin_of(distiller)])
    draws = rng.standard_normal(len(numbers)) * numbers.sd * np.sqrt(2 / numbers.n + 2 * share)
    return numbers.assign(mean=numbers["mean"] + draws)


@pytest.mark.parametrize("draw", [resampled, pytest.param(new_draw, marks=pytest.mark.slow)])
def test_rounding_passes_in_95_of_100_runs(draw, digits):
    numbers = moderated(numbers_of(digits.records))
    rng = np.random.default_rng(0)
    n_alarms = 0
    for _ in range(100):
        pairs = paired(numbers, draw(numbers, rng))
        n_alarms += (pairs.gap.abs() > pairs.tolerance).any() or kinds_of_cells(pairs).outside.any()
    assert n_alarms <= 5


# Faults. All fields that would betray them are forged, unless a test says otherwise.
def at_another_rate(records):
    "The accuracies of rate 0.4 under the names of rate 0.2."
    return {cell: with_accuracies(record, lambda values, cell=cell: np.array(
                records[cell.replace("sym0.2", "sym0.4")]["accuracies"])) if "sym0.2" in cell else record
            for cell, record in records.items()}


def with_swapped_noise(records):
    "Symmetric and asymmetric noise mistaken for each other."
    names = {"sym0.2": "asym0.2", "asym0.2": "sym0.2"}
    swapped = {}
    for cell, record in records.items():
        kind = cell.split("_")[1]
        other = records.get(cell.replace(f"_{kind}_", f"_{names.get(kind, kind)}_"), record)
        swapped[cell] = with_accuracies(record, lambda values, other=other: np.array(other["accuracies"]))
    return swapped


def lower(distiller, points):
    "A fault: so many points less for one distiller."
    def fault(records):
        return {cell: with_accuracies(record, lambda values: values - points / 100)
                if record["distiller"] == distiller else record for cell, record in records.items()}
    return fault


def broken(protocol, share):
    "A fault: every network of a protocol loses a share of its accuracy, as without augmentation."
    def fault(records):
        return {cell: with_accuracies(record, lambda values: values * (1 - share))
                if record["protocol"] == protocol else record for cell, record in records.items()}
    return fault


FAULTS = {"another rate": at_another_rate, "another kind of noise": with_swapped_noise,
          **{f"3 points less for {name}": lower(name, 3) for name in ("datm", "dance", "rcig", "full")},
          **{f"{name} loses 5 %": broken(name, .05) for name in ("datm", "dance", "rcig")}}


def test_without_a_fault_it_passes(committed, fresh): assert is_reproduced(cells_only(committed, fresh))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_accuracies_alone(name, committed, fresh):
    assert not is_reproduced(cells_only(committed, FAULTS[name](fresh)))


def test_a_swapped_seed_is_found_by_accuracies_alone():
    run = verify.read_run(ROOT/"outputs"/"digits-seeds")
    fresh = redrawn(run.records)
    first, second = sorted({record["seed"] for record in fresh.values()})[:2]
    swapped = dict(fresh)
    for cell, record in fresh.items():
        if record["seed"] == first:
            other = fresh[cell.replace(f"_seed{first}", f"_seed{second}")]
            swapped[cell] = with_accuracies(record, lambda values, other=other: np.array(other["accuracies"]))
    outcome = cells_only(run, swapped)
    assert f"seed {first}" in set(outcome.kinds.kind[outcome.kinds.outside])


def state_with(committed, fresh, change):
    "The state of one cell that is changed in a fresh run, and whether the run is reproduced."
    cell = next(cell for cell in sorted(committed.records) if "_sym0.2_datm_datm_ipc1_" in cell)
    records = dict(fresh)
    change(records, cell)
    outcome = cells_only(committed, {name: record for name, record in records.items() if record})
    return outcome.cells.set_index("cell").state[cell], is_reproduced(outcome)


@pytest.mark.parametrize("other", [("sym0.2", "sym0.4"), ("datm_datm", "dance_dance"), ("ipc1_", "ipc10_")])
def test_another_cells_record_names_itself(other, committed, fresh):
    def replaced(records, cell):
        records[cell] = records[cell.replace(*other)]
    assert state_with(committed, fresh, replaced) == ("another experiment", False)


def test_another_seeds_noise_names_itself(committed, fresh):
    def forged(records, cell):
        records[cell] = records[cell] | {"tau_hat": records[cell]["tau_hat"] + .001}
    assert state_with(committed, fresh, forged) == ("another experiment", False)


def test_missing_cells_are_found(committed, fresh):
    def dropped(records, cell):
        records[cell] = None
    assert state_with(committed, fresh, dropped) == ("missing", False)


def test_committed_files_are_no_fresh_run(committed, fresh):
    def copied(records, cell):
        records[cell] = committed.records[cell]
    assert state_with(committed, fresh, copied) == ("not computed anew", False)


def test_a_cell_far_off_is_outside(committed, fresh):
    def halved(records, cell):
        records[cell] = with_accuracies(records[cell], lambda values: values / 2)
    assert state_with(committed, fresh, halved) == ("outside", False)


def test_a_fresh_run_cannot_widen_its_tolerance(committed):
    def scattered(values):
        return values + np.linspace(-.3, .3, len(values))
    noisy = {cell: with_accuracies(record, scattered) for cell, record in committed.records.items()}
    numbers = moderated(numbers_of(committed.records))
    tolerances = [paired(numbers, numbers_of(records)).tolerance for records in (committed.records, noisy)]
    assert np.array_equal(*tolerances)


def test_a_firm_verdict_that_changes_is_found(digits, monkeypatch):
    monkeypatch.setattr(verify, "N_DRAWS", 2) # each takes a second
    worthless = {cell: with_accuracies(record, lambda values: values * 0) if record["distiller"] == "dance" else record
                 for cell, record in digits.records.items()}
    pairs = paired(moderated(numbers_of(digits.records)), numbers_of(worthless))
    which = [claim for claim in CLAIMS if claim.name == "beats the baseline"]
    verdicts = verify.compared_verdicts(*(verify.verdict_table(run, which) for run in (digits.records, worthless)))
    verdicts = verify.with_firmness(verdicts, digits.records, pairs, which)
    changed = verdicts[verdicts.changed]
    assert set(changed.method) == {"dance"} and "last" in set(changed.baseline[changed.firm])


def test_a_verdict_is_changed_or_gone_or_new(digits):
    which = [claim for claim in CLAIMS if claim.name == "beats the baseline"]
    table = verify.verdict_table(digits.records, which).reset_index(drop=True)
    assert len(table) > 3 and table.margin.notna().all()
    leans = ["contradicted" if table.leans[0] == "holds" else "holds", *table.leans[1:]]
    only_first = [True] + [False] * (len(table) - 1)
    assert verify.compared_verdicts(table, table.assign(leans=leans)).changed.tolist() == only_first
    assert verify.compared_verdicts(table, table[1:]).changed.tolist() == only_first
    assert not verify.compared_verdicts(table[1:], table).changed.any()


def test_a_run_without_the_usual_training_has_no_verdicts(digits):
    few = {cell: record for cell, record in digits.records.items()
           if (record["tau"], record["protocol"], record["noise"]) == (.4, "dance", "sym")}
    outcome = compare(Run(few, {}, "committed"), Run(redrawn(few), {}, "imagined"))
    assert "full" in set(outcome.cells.distiller) and outcome.verdicts.empty and is_reproduced(outcome)


@pytest.mark.slow
def test_rounding_passes_with_its_verdicts(digits):
    outcomes = [compare(digits, Run(redrawn(digits.records, seed), {}, "imagined")) for seed in range(20)]
    assert sum(map(is_reproduced, outcomes)) >= 19


# The command, on a repository with a dozen records.
@pytest.fixture
def clone(tmp_path, digits):
    "A repository that holds a few committed records of a profile, and where its outputs are."
    outputs = tmp_path/"outputs"
    records = outputs/"digits"/"records"
    records.mkdir(parents=True)
    for cell, record in list(digits.records.items())[:12]:
        (records/f"{cell}.json").write_text(json.dumps(record))
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "records"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return outputs


def verified(folder):
    "Last line and exit code of `dd_lnl verify`."
    ended = CliRunner().invoke(cli.app, ["verify", "--folder", str(folder)])
    return ended.output.splitlines()[-1], ended.exit_code


def test_the_command_compares_with_what_git_holds(clone):
    line, code = verified(clone)
    assert code == 1 and "12 the committed record itself" in line
    cli.set_aside(clone/"digits")
    records = clone/"digits"/"records"
    records.mkdir()
    for path in (clone/"digits"/"superseded"/"records").iterdir():
        (records/path.name).write_text(json.dumps(json.loads(path.read_text()) | {"wall_s": -1.}))
        path.write_text("{}") # nobody looks there as long as git has records
    line, code = verified(clone)
    assert line.startswith("reproduced: 12 of 12 cells (12 bit for bit") and code == 0
    next(records.iterdir()).unlink()
    line, code = verified(clone)
    assert line.startswith("NOT reproduced: 11 of 12 cells") and "1 missing" in line and code == 1


# What `make artifact` does with a stand-in for the command, which writes down how it was called.
STAND_IN = """#!/bin/sh
echo "$@" >> calls
[ "$1" != verify ] || exit $CODE
"""


REPRODUCE, VERIFY = "reproduce --profile digits --fresh", "verify --profile digits"


@pytest.mark.parametrize("are_earlier, code, calls", [
    (True, 0, [REPRODUCE, VERIFY]), (True, 1, [REPRODUCE, VERIFY]), (False, 1, [REPRODUCE])])
def test_make_artifact_ends_with_the_comparison(are_earlier, code, calls, tmp_path):
    shutil.copy(ROOT/"Makefile", tmp_path)
    (tmp_path/"dd_lnl").write_text(STAND_IN)
    (tmp_path/"dd_lnl").chmod(0o755)
    if are_earlier:
        (tmp_path/"outputs"/"digits"/"superseded"/"records").mkdir(parents=True)
    command = ["make", "-s", "-o", ".venv/ready", "artifact", f"BIN={tmp_path}"]
    ended = subprocess.run(command, cwd=tmp_path, env={**os.environ, "CODE": str(code)}, capture_output=True)
    assert (tmp_path/"calls").read_text().splitlines() == calls
    assert bool(ended.returncode) == (are_earlier and code == 1)


# Cells that are computed anew, with a fault in the code or with other roundings.
def another_seed(labels, T, seed=0): return corrupt(labels, T, seed + 1)
def half_the_rate(n_classes, tau): return symmetric(n_classes, tau / 2)
def half_as_wide(arch, images, p): return judge_network(arch, images, replace(p, width=p.width // 2))


def half_as_long(net, thetas, x, y, recipe, *more, **how):
    return fit(net, thetas, x, y, replace(recipe, epochs=recipe.epochs // 2), *more, **how)


PLANTED = { # a fault: the module and the name in it, what stands there instead, whether a field of the record tells
    "another rate": (noise, "symmetric", half_the_rate, True),
    "another seed": (noise, "corrupt", another_seed, True),
    "no augmentation": (training, "apply_augmentation", lambda x, draws: x, False),
    "half the steps": (evaluation, "fit", half_as_long, False),
    "half the width": (evaluation, "judge_network", half_as_wide, False),
}
FEW = [("full", None), ("random", 10)] # distiller and IPC


def recomputed(committed, folder, **changes):
    "A few cheap cells at high rates, computed anew with some options changed, beside the committed ones."
    parts = [part for s in profiles.profile("digits") for part in s.parts
             if part.protocol == "dance" and part.noise == "sym" and part.tau in (.6, .8)]
    sample = [(replace(part, **changes), cell) for part in parts for cell in part.cells
              if (cell.distiller, cell.ipc) in FEW]
    fresh = verify.recompute_sample(sample, folder)
    outcome = compare(committed, Run(fresh, {}, "here"), only=[cell.id for _, cell in sample])
    print(verify.in_words(outcome))
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_the_code_is_found(fault, digits, tmp_path, monkeypatch):
    module, name, faulty, field_tells = PLANTED[fault]
    monkeypatch.setattr(module, name, faulty)
    outcome = recomputed(digits, tmp_path)
    assert not is_reproduced(outcome)
    assert (set(outcome.cells.state) == {"another experiment"}) == field_tells


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_another_number_of_threads_passes(threads, digits, tmp_path):
    assert is_reproduced(recomputed(digits, tmp_path, threads=threads))


@pytest.mark.slow
def test_another_instruction_set_passes():
    old = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
    command = [sys.executable, "-m", "dd_lnl", "verify", "--quick", "--folder", str(ROOT/"outputs")]
    ended = subprocess.run(command, env=os.environ | old | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1].startswith("reproduced: ")
