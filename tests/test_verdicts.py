"""Every claim of the paper must be able to hold, to fail and to be untested: in made-up worlds."""
import pandas as pd
import pytest
from worlds import always, from_size, only, world

from dd_lnl.verdicts import CLAIMS, claims, verdicts_on
from dd_lnl.words import claims_summary, overview, with_numbers

HIGH, LOW = always(.9), always(.3)
FROM_10 = from_size(lambda method, tau: 10)
FROM_50 = from_size(lambda method, tau: 50)
FIVE_SEEDS = dict(seeds=range(5))
PEOPLE = dict(taus=(None,))
PAIR = dict(noise="asym", taus=(.2, .4)) # of rates
LOST = dict(noise="noisy100", identifiable=False)
BY_NAME = {claim.name: claim for claim in CLAIMS}

WORLDS = { # claim: the worlds in which it holds, fails, is not tested; most is two of three
    "beats the baseline": [
        dict(score=HIGH), dict(score=from_size(lambda method, tau: 10 if tau < .8 else 99)),
        dict(score=HIGH, taus=(.2, .4))],
    "one image is enough": [
        dict(score=from_size(lambda method, tau: 1 if tau > .5 else 99)), dict(score=FROM_10),
        dict(score=HIGH, sizes=(10, 50))],
    "fewer than 50 images": [dict(score=FROM_10), dict(score=FROM_50), dict(score=HIGH, sizes=(50,))],
    "more noise, fewer images": [
        dict(score=from_size(lambda method, tau: {.2: 50, .4: 10}.get(tau, 1)), **FIVE_SEEDS), dict(score=FROM_10),
        dict(score=HIGH, taus=(.2,))],
    "other data sets": [
        dict(score=HIGH, dataset="cifar100"), dict(score=LOW, dataset="tinyimagenet"), dict(score=HIGH)],
    "rate can be read": [
        dict(score=from_size(lambda method, tau: 100 * (1 - tau)), sizes=(20, 40, 60, 80), **FIVE_SEEDS),
        dict(score=HIGH), dict(score=HIGH, taus=(0.,))],
    "asymmetric: most stay below": [
        dict(score=only("datm"), **PAIR), dict(score=only("datm", "rcig"), **PAIR),
        dict(score=LOW, methods=("datm", "dance"), **PAIR)],
    "asymmetric: size does not help": [
        dict(score=LOW, **PAIR), dict(score=FROM_50, **PAIR), dict(score=LOW, noise="asym", taus=(.2,))],
    "asymmetric: DATM keeps up": [
        dict(score=only("datm"), **PAIR), dict(score=only("rcig"), **PAIR),
        dict(score=HIGH, methods=("rcig",), **PAIR)],
    "asymmetric: the others do not": [
        dict(score=only("datm"), **PAIR), dict(score=only("rcig"), **PAIR),
        dict(score=LOW, methods=("datm", "rcig"), **PAIR)],
    "worst: all gain": [
        dict(score=HIGH, noise="worst", **PEOPLE), dict(score=LOW, noise="worst", **PEOPLE), dict(score=HIGH)],
    "CIFAR-100N: fewer than 10": [
        dict(score=HIGH, **LOST, **PEOPLE), dict(score=FROM_10, **LOST, **PEOPLE),
        dict(score=HIGH, noise="noisy100", sizes=(10, 50), **PEOPLE)],
    "aggre: no gain": [
        dict(score=LOW, noise="aggre", **PEOPLE), dict(score=FROM_50, noise="aggre", **PEOPLE),
        dict(score=LOW, noise="worst", **PEOPLE)],
    "cheaper": [dict(score=HIGH, **FIVE_SEEDS), dict(score=HIGH, experts_s=99.), dict(score=HIGH, device=None)],
}


def verdicts(name, settings):
    "The verdicts on one claim in one world."
    return verdicts_on(world(**settings), [BY_NAME[name]])


def test_every_claim_with_a_rule_has_its_worlds(): assert {*WORLDS, "privacy", "tail classes"} == {*BY_NAME}


@pytest.mark.parametrize("name", WORLDS)
def test_a_claim_can_hold_fail_and_be_untested(name):
    for settings, expected in zip(WORLDS[name], ["holds", "fails", "not tested"]):
        assert set(verdicts(name, settings).verdict) == {expected}


@pytest.mark.parametrize("name", WORLDS)
def test_with_one_seed_a_claim_only_leans(name):
    for settings, leaning in zip(WORLDS[name], ["holds", "fails"]):
        table = verdicts(name, settings | {"seeds": [0]})
        assert (set(table.verdict), set(table.leans)) == ({"one seed"}, {leaning})


def test_promises_without_a_rule_are_never_tested():
    assert set(verdicts_on(world(HIGH), [BY_NAME["privacy"], BY_NAME["tail classes"]]).verdict) == {"not tested"}


def test_the_baselines_are_judged_apart():
    table = verdicts("beats the baseline", dict(score=always(.7)))
    assert dict(zip(table.baseline, table.verdict)) == {"last": "holds", "noisy_val": "fails"}


def test_a_margin_that_the_seeds_do_not_confirm_is_no_success():
    shaky = world(always(.61))
    shaky["mean"] += (shaky.distiller != "full") * shaky.seed.map({0: .03, 1: -.02, 2: 0})
    first = with_numbers(verdicts_on(shaky, [BY_NAME["one image is enough"]])).iloc[0]
    assert (first.verdict, first.leans) == ("fails", "holds") and first.p > .05
    assert first.numbers == "DANCE 61.5 ± 2.4 against 60.1 ± 0.1 at τ = 0.8, IPC 1"


@pytest.mark.parametrize("name, settings, numbers", [
    ("more noise, fewer images", dict(score=FROM_10, seeds=[0]),
     "smallest IPC 10 at τ = 0.2, 10 at τ = 0.4, 10 at τ = 0.6, 10 at τ = 0.8"),
    ("more noise, fewer images", dict(score=LOW, seeds=[0]),
     "smallest IPC none at τ = 0.2, none at τ = 0.4, none at τ = 0.6, none at τ = 0.8"),
    ("rate can be read", dict(score=HIGH, seeds=[0]), "DANCE reads 0.99 where 0.20 is true"),
    ("rate can be read", dict(score=LOW, seeds=[0]), "DANCE reads nothing where 0.80 is true"),
    ("cheaper", dict(score=HIGH, seeds=[0]),
     "DANCE 1.0 + 1.0 s against 5.3 s at symmetric noise, τ = 0.8, IPC 50, pays from 1 networks on"),
    ("cheaper", dict(score=HIGH, seeds=[0], wall_s=99.), "DANCE 1.0 + 19.8 s against 10.4 s at symmetric noise, "
     "τ = 0.8, IPC 50, never pays")])
def test_the_deciding_case_in_words(name, settings, numbers):
    assert with_numbers(verdicts(name, settings)).numbers.iloc[0] == numbers


def with_random(mean=.7):
    "DANCE's sets, and random images that are as good as `mean`."
    small = world(HIGH, methods=("dance",), sizes=(1, 10))
    return pd.concat([small, small[small.distiller == "dance"].assign(distiller="random", mean=mean)])


def test_random_images_are_judged_by_the_same_rule():
    table = claims(with_random()).query("claim == 'one image is enough'").set_index("baseline")
    assert table.verdict.to_dict() == {"last": "holds", "noisy_val": "holds"}
    assert table.random.to_dict() == {"last": "holds", "noisy_val": "fails"}
    assert (set(table.spread), set(table.n)) == ({"seeds"}, {3})


def test_random_images_under_no_distillers_protocol_are_not_judged():
    both = with_random()
    learned_step = both[both.distiller == "random"].assign(protocol="datm_lr", mean=.1)
    pd.testing.assert_frame_equal(claims(pd.concat([both, learned_step])), claims(both))


def test_the_claims_in_words():
    sentences = claims_summary(claims(with_random()))
    assert sentences[1] == ("digits, “one image is enough”: holds against the last epoch for DANCE (random images "
                            "instead of DANCE do it too); holds against the noisy-validation epoch for DANCE.")
    assert sentences[-1] == "digits, “tail classes”: not tested."


def test_the_claims_as_a_table():
    table = overview(claims(with_random()))
    assert table.loc["one image is enough"].tolist()[1:] == ["holds: DANCE*", "holds: DANCE"]
    assert table.loc["privacy"].tolist()[1:] == ["not tested"] * 2
    assert len(table) == len(CLAIMS)
