"""The arithmetic of each modality's step, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Array, Image


def done(array: object, step: dict, *, meta: dict | None = None, volume: bool = False) -> Array:
    image = Image(np.asarray(array), np.eye(4) if volume else None, "a.dcm", meta or {})
    return apply_steps(image, parse_steps([step])).image.array


def test_a_ct_window_in_hu() -> None:
    values = [[[-1024, -160, 40, 240, 3000]]]
    np.testing.assert_allclose(done(values, {"op": "window", "centre": 40, "width": 400}), [[[0, 0, 0.5, 1, 1]]])
    np.testing.assert_allclose(done(values, {"op": "window"}, meta={"window": (40.0, 400.0)}), [[[0, 0, 0.5, 1, 1]]])
    with pytest.raises(UserError, match="names no window"):
        done(values, {"op": "window"})
    with pytest.raises(UserError, match="belong together"):
        parse_steps([{"op": "window", "centre": 40}])


def test_mr_z_score_inside_the_mask() -> None:
    found = done([[[0, 0, 1, 2, 3]]], {"op": "zscore", "where": "nonzero"})
    np.testing.assert_allclose(found, [[[0, 0, -1.2247449, 0, 1.2247449]]], rtol=1e-6)


def test_pet_by_body_weight() -> None:
    # 70 kg, 370 MBq, an hour of fluorine-18 (6586.2 s): 5000 Bq/ml are SUV 1.3817.
    factor = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
    assert done([[[5000.0]]], {"op": "suv"}, meta={"suvbw": factor}).item() == pytest.approx(1.38172, rel=1e-4)
    with pytest.raises(UserError, match="the patient's weight is not given"):
        done([[[1.0]]], {"op": "suv"}, meta={"suvbw_lacks": "the patient's weight is not given"})


def test_subtraction_in_the_log_domain_leaves_the_agent_alone() -> None:
    bone, agent = np.array([[0.5, 2.0, 1.0]]), np.array([[0.0, 0.3, 0.7]])
    mask, filled = 4000 * np.exp(-bone), 4000 * np.exp(-bone - agent)
    found = done(np.stack([mask, filled]), {"op": "log-subtract"})
    np.testing.assert_allclose(found, agent[None], atol=1e-6)
    with pytest.raises(UserError, match="has 1 channels"):
        done(mask[None], {"op": "log-subtract"})


def test_lees_filter() -> None:
    x = np.array([[10, 12, 8], [9, 40, 11], [10, 9, 11]], float)
    mean, variance = x.mean(), x.var()
    gain = 1 - (0.25 * mean) ** 2 / variance
    found = done(x[None], {"op": "despeckle", "size": 3, "noise": 0.25})
    assert found[0, 1, 1] == pytest.approx(mean + gain * (40 - mean), rel=1e-6)
    np.testing.assert_allclose(done(np.full((1, 9, 9), 7.0), {"op": "despeckle"}), 7.0)
    rng = np.random.default_rng(0)
    step = np.where(np.arange(64) < 32, 20.0, 200.0) * rng.gamma(16, 1 / 16, (64, 64))
    smooth = done(step[None], {"op": "despeckle", "size": 7, "noise": 0.25})[0]
    assert smooth[:, 4:26].std() < 0.35 * step[:, 4:26].std()
    assert smooth[:, 33].mean() - smooth[:, 30].mean() > 120


def test_n4_takes_out_a_slow_field() -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK (extra bias) does N4")
    x, y, z = np.indices((40, 44, 36))
    inside = (x - 20) ** 2 + (y - 22) ** 2 + (z - 18) ** 2 < 17**2
    tissue = np.where(inside, np.where((x // 5 + y // 5 + z // 5) % 2, 100.0, 60.0), 0.0)
    field = np.exp(0.4 * (x - 20) / 20)
    found = done((tissue * field)[None], {"op": "n4", "iterations": 15}, volume=True)[0]

    def unevenness(a: Array) -> float:
        bright = inside & (tissue == 100)
        return float(a[bright].std() / a[bright].mean())

    assert unevenness(tissue * field) > 0.15
    assert unevenness(found) < 0.06
    assert (found[~inside] == 0).all()
    assert found[inside].mean() == pytest.approx((tissue * field)[inside].mean(), rel=1e-5)
