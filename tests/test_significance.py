"""The statistics keep their promises on made-up data with a known answer: level, power, correction, intervals."""
import numpy as np
import pytest

from dd_lnl.significance import (ALPHA, POWER, Samples, bound, corrected_level, decided, detectable, nested_p, p_above,
                                 samples_of)

EVERY_RATE = [("some", list(np.arange(12).reshape(4, 3))), ("every", [np.arange(4)])]
SOME_RATE = [("every", list(np.arange(12).reshape(4, 3))), ("some", [np.arange(4)])]
MOST = [("most", [np.arange(12)])]


def draws(seed=0):
    "A generator of one's own."
    return np.random.default_rng(seed)


def null_cases(random, n, shared):
    "Twelve cases without any effect, of which a share of the variance is common to all."
    own = random.normal(size=(12, n))
    return Samples(np.sqrt(shared) * random.normal(size=(1, n)) + np.sqrt(1 - shared) * own)


@pytest.mark.parametrize("levels", [EVERY_RATE, SOME_RATE, MOST])
@pytest.mark.parametrize("shared", [0., .5, 1.])
def test_where_nothing_is_a_sentence_is_shown_no_oftener_than_the_level_says(levels, shared):
    random = draws()
    p = np.array([nested_p(p_above(null_cases(random, 5, shared)), levels) for _ in range(600)])
    for level in (.05, .2):
        assert np.mean(p <= level) <= level + 2 * np.sqrt(level * (1 - level) / 600)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("level", [.025, .005])
def test_a_planted_effect_is_found_at_the_stated_power(n, level):
    planted = Samples(draws(n).normal(detectable(n, level), 1, (20_000, n)))
    assert abs((p_above(planted) <= level).mean() - POWER) < .015


@pytest.mark.parametrize("n", [3, 10])
def test_half_of_that_effect_is_found_less_often(n):
    smaller = Samples(draws(n).normal(detectable(n, .025) / 2, 1, (20_000, n)))
    assert (p_above(smaller) <= .025).mean() < .5


def test_a_null_is_found_at_the_level():
    null = Samples(draws().normal(size=(40_000, 4)))
    assert abs((p_above(null) <= .05).mean() - .05) < .004


@pytest.mark.parametrize("real", [0, 20, 60])
def test_the_correction_controls_the_share_of_wrong_decisions(real):
    random = draws(real)
    wrong_shares, errors_without = [], []
    for _ in range(400):
        effects = np.r_[np.full(real, 1.5), np.zeros(100 - real)]
        baseline = random.normal(size=(1, 10)) # the same for all, as in a table of verdicts
        table = Samples(effects[:, None] + random.normal(size=(100, 10)) - baseline)
        p = 2 * np.minimum(p_above(table), p_above(table, sign=-1))
        passed = p <= corrected_level(p)
        wrong = passed & ((effects == 0) | (table.means < 0))
        wrong_shares.append(wrong.sum() / max(1, passed.sum()))
        errors_without.append(((p <= ALPHA) & (effects == 0)).any())
    assert np.mean(wrong_shares) <= ALPHA + 2 * np.std(wrong_shares) / 20
    assert np.mean(errors_without) > .3 # what happens without a correction


def test_the_level_is_what_decides():
    p = draws().uniform(size=300)**3
    assert (p <= corrected_level(p)).sum() == decided(p) > 0
    assert corrected_level([np.nan, .5]) == ALPHA


@pytest.mark.parametrize("levels", [EVERY_RATE, SOME_RATE, MOST])
def test_an_interval_holds_the_true_margin_as_often_as_it_says(levels):
    random, missed = draws(), 0
    for _ in range(200):
        cases = Samples(3. + random.normal(size=(12, 4)))
        missed += not bound(cases, levels, .05, 1) <= 3. <= bound(cases, levels, .05, -1)
    assert missed <= 200 * .1 + 9 # 5 % on either side, and chance


def test_counted_gaps_say_no_more_than_their_seeds():
    agreeing = samples_of([[1., 1, 1]], counted=True)
    assert p_above(agreeing)[0] == 1 / 8
    assert bound(agreeing, [], .1, 1) == -np.inf and bound(agreeing, [], .2, 1) > -np.inf
