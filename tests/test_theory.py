"""Corollaries, absorbed noise and credit on made-up records whose answer is known."""
import numpy as np
import pandas as pd
import pytest
from worlds import always, frame_of, record, world

from dd_lnl.core import InputError
from dd_lnl.theory import STEPS, absorbed, bounds, credit, gaps, inferences
from dd_lnl.words import absorbed_summary, corollaries_summary, credit_summary

DIGITS = dict(n_train=1297, methods=("datm",), seeds=[0])


def growing(method, tau, ipc):
    "A score that grows with the size: only 50 images reach 60 %."
    return .5 + .007 * ipc


def test_a_gap_is_to_the_baseline_of_the_same_seed():
    one_seed = world(always(.9), seeds=[0])
    cases = gaps(one_seed)
    assert len(cases) == 3 * 4 * 3
    assert np.allclose(cases.gap, 30) and np.allclose(cases.width, 2)
    assert np.allclose(gaps(one_seed, "noisy_val").gap, 10)


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
    assert inferences(world(always(.3))).true.tolist() == [None] * 24


def test_the_corollaries_in_words():
    records = world(growing, **DIGITS)
    sentences = corollaries_summary(bounds(records), inferences(records))
    assert sentences[0] == "Corollary I allows every size computed in 3 of 4 settings, and says nothing there."
    assert ("it allows 26 images a class; beyond it accuracy still gains +28.0 points, "
            "with sizes up to IPC 50") in sentences[1]
    assert "in 8 of 8 cases, and the true rate is as high in 2 of them" in sentences[2] # 50 images match: 0.61 is read


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
        "DATM on digits, asymmetric noise: of the noise, its networks hold 45 % at IPC 1 "
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
    rung("full", .6, "full"), rung("full", .85), rung("random", .7), rung("selected", .75), rung("agreement", .9),
    rung("datm", .94), rung("full", .75, "dance"), rung("random", .6, "dance"), rung("dance", .9, "dance")])


def test_the_shares_are_the_steps_of_the_ladder():
    shares = credit(RUNGS)
    steps = shares.pivot(index="protocol", columns="step", values="gain")[[*STEPS]]
    assert np.allclose(steps.loc["datm"], [25, -15, 5, 15, 4])
    assert np.allclose(steps.loc["dance"].dropna(), [15, -15, 30])
    assert (len(shares), set(shares.seeds), shares["std"].isna().all()) == (8, {1}, True)


def test_a_ladder_with_a_missing_rung_is_none():
    without_random = RUNGS[(RUNGS.protocol != "datm") | (RUNGS.distiller != "random")]
    assert len(credit(without_random)) == 3
    assert len(credit(RUNGS[RUNGS.distiller != "selected"])) == 3 # both selection and soft labels, or none
    with pytest.raises(InputError, match="No setting has every rung"):
        credit(RUNGS[RUNGS.distiller != "random"])


def test_controls_at_the_learned_step_size_are_no_rung():
    controls = RUNGS[RUNGS.distiller.isin(["random", "selected", "agreement"]) & (RUNGS.protocol == "datm")]
    pd.testing.assert_frame_equal(credit(pd.concat([RUNGS, controls.assign(protocol="datm_lr")])), credit(RUNGS))


def test_credit_in_words():
    sentences = credit_summary(credit(RUNGS))
    assert sentences[1] == ("DATM on digits, symmetric noise, IPC 10: +34.0 points over the full data's last epoch, of "
                            "which the recipe +25.0, fewer images -15.0, selecting agreed images +5.0, soft labels "
                            "+15.0, distilling +4.0; the largest gain is the recipe.")
    assert sentences[-1] == "In 2 of 2 noisy settings the distilled set is above the full data under the same recipe."
