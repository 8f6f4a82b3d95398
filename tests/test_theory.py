"""Corollaries, absorbed noise and credit on made-up records whose answer is known."""
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from worlds import always, frame_of, record, world

from dd_lnl.core import InputError
from dd_lnl.findings import full_costs
from dd_lnl.results import load, transitions
from dd_lnl.theory import STEPS, absorbed, bounds, credit, gaps, inferences
from dd_lnl.words import absorbed_summary, corollaries_summary, credit_summary, headlines

DIGITS = dict(n_train=1297, methods=("datm",), seeds=[0])


def growing(method, tau, ipc):
    "A score that grows with the size: only 50 images reach 60 %."
    return .5 + .007 * ipc


def test_a_gap_is_to_the_baseline_of_the_same_seed():
    one_seed = world(always(.9), seeds=[0])
    cases = gaps(one_seed)
    assert len(cases) == 3 * 4 * 3
    assert np.allclose(cases.gap, 30) and np.allclose(cases.width, 2)
    assert np.allclose(gaps(one_seed, "equal_updates").gap, 20)
    assert np.allclose(gaps(one_seed, "noisy_val").gap, 10)
    assert np.allclose(gaps(one_seed, "recipe").gap, 5)


def test_the_recipe_is_the_distillers_own():
    frame = world(always(.9), seeds=[0])
    frame.loc[(frame.distiller == "full") & (frame.protocol == "rcig"), "mean"] = .5
    means = gaps(frame, "recipe").groupby("distiller").gap.mean().round(6)
    assert means.to_dict() == {"datm": 5, "dance": 5, "rcig": 40}


def test_a_set_is_compared_with_its_own_set_from_clean_labels():
    frame = pd.concat([world(always(.8), noise="asym", taus=(.2,)), world(always(.95), taus=(0.,))])
    cases = gaps(frame, "clean")
    assert np.allclose(cases.gap[cases.tau == .2], -15) and np.allclose(cases.gap[cases.tau == 0], 0)


def of_both_kinds(asym_share, sym_shares):
    "Sets of 70 % under asymmetric noise and of 80 % under symmetric noise, with shares of wrong labels."
    kinds = [world(always(.7), noise="asym", taus=(.4,), tau_hat=asym_share, seeds=[0])]
    kinds += [world(always(.8 - .1 * (tau == .4)), taus=(tau,), tau_hat=share, seeds=[0])
              for tau, share in zip((.2, .4), sym_shares)]
    return pd.concat(kinds)


def test_kinds_of_noise_are_compared_at_the_same_share_of_wrong_labels():
    cases = gaps(of_both_kinds(.15, (.19, .4)), "symmetric")
    assert set(cases.kind) == {"asym"} and np.allclose(cases.gap, -10) # τ = 0.2, not the same τ = 0.4
    assert gaps(of_both_kinds(.08, (.19, .4)), "symmetric").empty # too far off


def test_what_nobody_can_know_has_no_gap():
    assert gaps(world(always(.9), identifiable=False)).empty
    assert len(gaps(world(always(.9), taus=(None,), noise="worst", identifiable=False))) # human labels stay


def test_a_gap_needs_a_baseline():
    with pytest.raises(InputError, match="No record of the usual training"):
        gaps(world(always(.9)).query("distiller != 'full'"))


def test_corollary_1_binds_where_a_size_is_beyond_it():
    bound = bounds(world(growing, **DIGITS))
    assert bound.beyond.notna().tolist() == [False, False, False, True]
    assert np.allclose([bound.bound.iloc[-1], bound.beyond.iloc[-1]], [25.94, 28])


def test_corollary_2_contradicts_the_papers_own_text():
    published = world(lambda method, tau, ipc: .9 if ipc >= 50 else .3, taus=(.2,), methods=("datm",), seeds=[0],
                      n_train=50_000)
    first = inferences(published).iloc[0]
    assert (first.ipc, round(first.inferred, 4), first.true) == (50, .99, False)
    assert np.allclose(bounds(published).bound, 4000)


def test_corollary_2_says_nothing_where_no_size_matches():
    assert inferences(world(always(.3))).true.tolist() == [None] * 48


def test_the_corollaries_in_words():
    records = world(growing, **DIGITS)
    sentences = corollaries_summary(bounds(records), inferences(records))
    assert sentences[0] == ("In 3 of 4 settings no computed size is above the bound of Corollary I, so they do not "
                            "test it.")
    assert ("the bound is 26 images a class; above it accuracy still gains +28.0 points, "
            "with sizes up to IPC 50") in sentences[1]
    assert ("gives a lower bound of the rate in 16 of 16 cases (a noise, a method and a baseline each); in 12 of them "
            "every computed size gives one above the true rate, so that it cannot hold; of the other 4, 4 hold."
            ) in sentences[2]


I = np.eye(3)
T = np.array([[.6, .4, 0], [0, 1, 0], [.2, .2, .6]])


def belief(share):
    "What a network believes that took over a share of the noise, with ten per cent of ordinary mistakes."
    return .9 * (I + share * (T - I)) + .1 / 3


def beliefs(targets, noisy=belief(.5)):
    "DATM's set and the full data, clean and noisy."
    common = dict(dataset="digits", noise="asym", protocol="datm", seed=0)
    records = []
    for distiller, ipc in [("datm", 1), ("full", None)]:
        setting = common | dict(distiller=distiller, ipc=ipc)
        records.append(setting | dict(tau=0., tau_hat=0., true=I, targets=I, networks=belief(0)))
        records.append(setting | dict(tau=.4, tau_hat=.4, true=T, targets=targets if ipc else None, networks=noisy))
    return pd.DataFrame(records)


def test_half_of_the_noise_is_found_as_one_half():
    shares = absorbed(beliefs((I + T) / 2))
    [targets] = shares[shares.source == "targets"].itertuples()
    assert np.allclose([targets.absorbed, targets.distance], [.5, .8 / 3 / 2])
    assert np.allclose(shares.absorbed[shares.source == "networks"], .45)
    assert absorbed_summary(shares)[-1] == (
        "DATM on digits, asymmetric noise: share of the noise in its networks: 45 % at IPC 1 "
        "(all the noisy data under the same recipe: 45 %).")


def test_hard_labels_have_no_targets_to_read():
    assert set(absorbed(beliefs(I)).source) == {"networks"}


def test_absorbed_noise_needs_the_clean_counterpart():
    both = beliefs(I)
    with pytest.raises(InputError, match="clean counterpart"):
        absorbed(both[both.tau > 0])


def rung(distiller, mean, protocol="datm"):
    "One record under a protocol, at τ = 0.4."
    return record(distiller, .4, None if distiller == "full" else 10, 0, mean, protocol=protocol)


RUNGS = frame_of([
    rung("full", .6, "full") | dict(equal_updates_mean=.8), rung("full", .85), rung("random", .7),
    rung("selected", .75), rung("agreement", .9),
    rung("datm", .94), rung("full", .75, "dance"), rung("random", .6, "dance"), rung("dance", .9, "dance")])


def test_the_shares_are_the_steps_of_the_ladder():
    shares = credit(RUNGS)
    steps = shares.pivot(index="protocol", columns="step", values="gain")[[*STEPS]]
    assert np.allclose(steps.loc["datm"], [20, 5, -15, 5, 15, 4])
    assert np.allclose(steps.loc["dance"].dropna(), [20, -5, -15, 30])
    assert np.allclose(shares[shares.step == "whole"].gain, [30, 34])
    assert (len(shares), set(shares.seeds), shares["std"].isna().all()) == (12, {1}, True)


def test_old_records_have_updates_and_recipe_in_one_step():
    shares = credit(RUNGS.drop(columns=["equal_updates_mean"]))
    steps = shares.pivot(index="protocol", columns="step", values="gain")
    assert np.allclose(steps.recipe, [15, 25]) and "updates" not in steps


def test_a_share_has_its_deviation_across_seeds():
    other = RUNGS.assign(seed=1, mean=RUNGS["mean"] + .02 * (RUNGS.distiller == "datm"))
    shares = credit(pd.concat([RUNGS, other])).set_index(["protocol", "step"])
    assert np.isclose(shares.gain["datm", "distilled"], 5) and np.isclose(shares["std"]["datm", "distilled"], 2**.5)
    assert np.isclose(shares["std"]["dance", "distilled"], 0)


def test_a_ladder_with_a_missing_rung_is_none():
    without_random = RUNGS[(RUNGS.protocol != "datm") | (RUNGS.distiller != "random")]
    assert len(credit(without_random)) == 5
    assert len(credit(RUNGS[RUNGS.distiller != "selected"])) == 5 # both selection and soft labels, or none
    with pytest.raises(InputError, match="No setting has every rung"):
        credit(RUNGS[RUNGS.distiller != "random"])


def test_controls_at_the_learned_step_size_are_the_rungs_where_all_of_them_are():
    controls = RUNGS[RUNGS.distiller.isin(["random", "selected", "agreement"]) & (RUNGS.protocol == "datm")]
    learned = controls.assign(protocol="datm_lr", mean=controls["mean"] + .03)
    steps = credit(pd.concat([RUNGS, learned])).pivot(index="protocol", columns="step", values="gain")[[*STEPS]]
    assert np.allclose(steps.loc["datm"], [20, 5, -12, 5, 15, 1])
    pd.testing.assert_frame_equal(credit(pd.concat([RUNGS, learned[:2]])), credit(RUNGS)) # one of them is missing


def test_relabelled_images_are_the_rung_of_soft_labels_where_nothing_is_agreed_on():
    relabelled = frame_of([rung("relabelled", .8, "dance"), rung("relabelled", .8)])
    steps = credit(pd.concat([RUNGS, relabelled])).pivot(index="protocol", columns="step", values="gain")
    assert np.allclose(steps.loc["dance", ["fewer", "soft", "distilled"]], [-15, 20, 10])
    assert np.allclose(steps.loc["datm", ["selected", "soft", "distilled"]], [5, 15, 4])


def test_credit_in_words():
    sentences = credit_summary(credit(RUNGS))
    assert sentences[1] == ("DATM on digits, symmetric noise, IPC 10: +34.0 points over the full data's last epoch, of "
                            "which fewer updates +20.0, the recipe +5.0, fewer images -15.0, selecting agreed "
                            "images +5.0, soft labels +15.0, distilling +4.0; the largest gain is fewer updates.")
    assert sentences[-1] == ("In 2 of 2 noisy settings the distilled set's mean is above that of the full data under "
                             "the same recipe.")


def test_symmetric_noise_is_not_called_absorbed():
    shares = absorbed(beliefs(I).assign(noise="sym"))
    assert set(shares.measure) == {"confidence lost / rate"}
    assert all("confidence" in sentence and "of the noise" not in sentence for sentence in absorbed_summary(shares))


def test_parts_of_the_records_have_headlines_or_say_what_is_missing():
    frame, matrices = load("digits", ROOT/"outputs"), transitions("digits", ROOT/"outputs")
    parts = [frame.sample(n, random_state=seed) for seed in range(2) for n in (1, 3, 10, 100)]
    parts += [own for column in ("distiller", "protocol", "noise") for _, own in frame.groupby(column)]
    answered = []
    for part in parts: # any other error would end the test
        try:
            answered += headlines(part, matrices[matrices.cell.isin(part.cell)])
        except InputError as error:
            assert str(error).endswith(".")
    assert answered


def test_all_networks_that_choose_an_epoch_are_paid_for():
    # Two networks: 10 seconds each with all images, 9 each without a tenth; the fifth of ten epochs is used.
    records = pd.DataFrame({"protocol": ["ce"], "wall_s": [38.], "n": [2], "noisy_val_mean": [.9],
                            "noisy_val_epoch": [5], "curve": [[.5] * 10]})
    before, each = full_costs(records, "noisy_val")
    assert (before.item(), each.item()) == pytest.approx((18, 5))
