"""Wilson's interval, the clustered bootstrap and the paired one, on data with known results."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.metrics.interval import (
    Metric,
    _multiplicities,
    bootstrap,
    paired_bootstrap,
    point_estimate,
    statistic_of_indices,
    wilson,
)


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_wilson_of_two_in_ten_is_the_slides_interval():
    low, high = wilson(2, 10)
    assert low == pytest.approx(0.057, abs=5e-4)
    assert high == pytest.approx(0.510, abs=5e-4)


def test_wilson_stays_inside_zero_and_one():
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_of_a_mean_agrees_with_its_standard_error():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(mean_of(values), np.arange(400))
    half = 1.96 * values.std() / np.sqrt(400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=half / 5)


def test_copies_within_a_group_do_not_narrow_the_interval():
    values = np.random.default_rng(2).normal(size=50)
    alone = bootstrap(mean_of(values), np.arange(50))
    copied = bootstrap(mean_of(np.repeat(values, 8)), np.repeat(np.arange(50), 8))
    assert copied == pytest.approx(alone)
    naive = bootstrap(mean_of(np.repeat(values, 8)), np.arange(400))
    assert naive[1] - naive[0] < 0.5 * (alone[1] - alone[0])


def test_resampled_sets_hold_whole_groups_as_many_as_there_are():
    codes = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(_multiplicities(codes, 3, replicates=500, seed=0, width=0)))
    assert weights.shape == (500, 6)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 3], weights[:, 5])
    assert np.array_equal(weights[:, [0, 2, 3]].sum(axis=1), np.full(500, 3))
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.1)


def test_blocks_do_not_change_the_samples():
    codes = np.arange(40)
    whole = np.concatenate(list(_multiplicities(codes, 40, replicates=30, seed=3, width=0)))
    blocks = list(_multiplicities(codes, 40, replicates=30, seed=3, width=1_000_000))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), whole)


def test_a_seed_fixes_the_interval_and_another_moves_it():
    values = np.random.default_rng(4).normal(size=30)
    one = bootstrap(mean_of(values), np.arange(30), seed=7)
    assert bootstrap(mean_of(values), np.arange(30), seed=7) == one
    assert bootstrap(mean_of(values), np.arange(30), seed=8) != one


def test_any_function_of_items_can_be_bootstrapped():
    values = np.random.default_rng(5).normal(size=30)
    by_items = bootstrap(statistic_of_indices(lambda items: float(values[items].mean())), np.arange(30), replicates=200)
    assert by_items == pytest.approx(bootstrap(mean_of(values), np.arange(30), replicates=200))


def test_one_group_has_no_interval_and_undefined_replicates_are_left_out():
    assert bootstrap(mean_of(np.arange(3.0)), ["a", "a", "a"]) is None
    truth = np.array([1.0, 0, 0, 0])

    def share(weights):
        drawn = weights @ truth
        return np.where(drawn > 0, drawn / weights.sum(axis=1), np.nan)

    low, high = bootstrap(share, np.arange(4))
    assert low == 0.25
    assert high > low
    assert bootstrap(lambda weights: np.full(len(weights), np.nan), np.arange(4)) is None


def test_pairing_cancels_what_the_items_share():
    rng = np.random.default_rng(6)
    difficulty = rng.normal(size=100) * 10
    first, second = difficulty + 1, difficulty + rng.normal(size=100) * 0.1
    difference, (low, high) = paired_bootstrap(mean_of(first), mean_of(second), np.arange(100))
    assert difference == pytest.approx(first.mean() - second.mean())
    assert 0.9 < low < difference < high < 1.1
    alone = bootstrap(mean_of(first), np.arange(100))
    assert alone[1] - alone[0] > 20 * (high - low)


def test_a_metric_survives_json():
    figure = Metric("auc", 0.9, 0.8, 0.95, "how", 10, 5)
    assert Metric(**figure.to_dict()) == figure
    assert point_estimate(mean_of(np.array([1.0, 3.0])), 2) == 2.0
