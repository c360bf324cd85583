"""The SVM: scikit-learn's predictions in plain tensors, nothing learned from held-out items, mistakes named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.errors import UserError
from medzoo.inputs.feature_input import feature_probes
from medzoo.models.svm import ENTRY, Svm, SvmParams
from medzoo.nn.net import Spec
from medzoo.nn.svm.solver import SvmSearch, fit_svm, grouped_folds, platt_scaling
from medzoo.nn.weights import load_weights, weights_bytes
from medzoo.runtime.parity.gate import Golden, dump_golden, load_golden
from medzoo.types import Array

SPEC = Spec("classify", ("benign", "malignant"))
NAMES = ("area", "height", "noise a", "noise b")


def masses(count: int = 120, seed: int = 0) -> tuple[Array, Array, Array]:
    """Features of which the first two decide, on very different scales; labels; groups of two."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) // 2 % 2
    x = rng.normal(0, 1, (count, 4))
    x[:, 0] = 5000 + 900 * (x[:, 0] + 1.6 * y)
    x[:, 1] = 0.01 * (x[:, 1] + 1.6 * y)
    return x, y, np.arange(count) // 2


def search(**changes: object) -> SvmSearch:
    options = {"kernel": "rbf", "cost": [1.0], "gamma": [0.1], "keep": [2], "select": "anova", "folds": 4, "seed": 0}
    return SvmSearch(**(options | changes))  # type: ignore[arg-type]


def solved(**params: object) -> Svm:
    x, y, groups = masses()
    net = Svm(SvmParams(**({"cost": [1.0], "gamma": [0.1], "folds": 4} | params)), SPEC)  # type: ignore[arg-type]
    net.partial_fit(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(groups))
    net.fit(NAMES)
    return net


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_the_graph_predicts_as_scikit_learn_does(kernel: str) -> None:
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x, y, _ = masses()
    net = solved(kernel=kernel)
    scaler = StandardScaler().fit(x)
    reference = SVC(C=1.0, gamma=0.1, kernel=kernel, class_weight="balanced").fit(scaler.transform(x), y)
    new = masses(seed=1)[0]
    with torch.inference_mode():
        decision = net.machines[0].decision(torch.from_numpy(new).float()).numpy()
        answer = net(torch.from_numpy(new).float())["probabilities"].numpy()
    assert np.allclose(decision, reference.decision_function(scaler.transform(new)), atol=1e-3)
    assert np.allclose(answer.sum(axis=1), 1)
    assert np.array_equal(np.argsort(answer[:, 1]), np.argsort(decision))


def test_selection_keeps_what_decides_and_the_rules_name_it() -> None:
    net = solved(select="anova", keep=[2])
    said = net.fit_report["all outlines"]
    assert said["features"] == ["area", "height"]
    assert "area" in said["rules"] or "height" in said["rules"]
    assert "malignant" in said["rules"]
    assert said["out_of_fold_auc"] > 0.85
    assert len(net.machines[0].mean) == 2


def test_noise_is_worth_nothing_out_of_fold() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    result = fit_svm(rng.normal(size=(80, 300)), y, np.arange(80), search(keep=[5]))
    # Features picked outside the folds would reach about 0.9 here.
    assert 0.2 < result.auc < 0.75


def test_folds_divide_no_group() -> None:
    _, y, groups = masses()
    for train, held in grouped_folds(y, groups, 4, seed=0):
        assert not set(groups[train]) & set(groups[held])
        assert set(y[held]) == {0, 1}


def test_platt_finds_the_curve_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    decisions = rng.normal(0, 2, 20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-(1.5 * decisions - 0.7)))).astype(int)
    assert platt_scaling(decisions, y) == pytest.approx((1.5, -0.7), abs=0.08)


def test_apart_keeps_a_machine_for_each_kind_of_outline() -> None:
    x, y, groups = masses()
    # Given outlines say the opposite of found ones: no single machine could learn both.
    rows = np.vstack([np.column_stack([x, np.ones(len(x))]), np.column_stack([x, np.zeros(len(x))])])
    labels = np.concatenate([y, 1 - y])
    net = Svm(SvmParams(apart=True, learn_from=("given", "found"), cost=(1.0,), gamma=(0.1,), folds=4), SPEC)
    both = torch.from_numpy(np.concatenate([groups, groups]))
    net.partial_fit(torch.from_numpy(rows), torch.from_numpy(labels), both, both)
    net.fit((*NAMES, "outline_given"))
    with torch.inference_mode():
        answer = net(torch.from_numpy(rows).float())["probabilities"].argmax(1).numpy()
    assert (answer == labels).mean() > 0.85
    assert set(net.fit_report) == {"given outlines", "found outlines"}
    assert net.operating_point is not None
    assert f"{len(set(groups))} out-of-fold" in net.operating_point[1]


def test_a_solution_comes_back_from_safetensors(tmp_path: Path) -> None:
    net = solved()
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(net))
    other = Svm(net.params, SPEC)
    load_weights(other, tmp_path / "model.safetensors")
    x = torch.from_numpy(masses(seed=2)[0]).float()
    with torch.inference_mode():
        assert torch.equal(net(x)["probabilities"], other(x)["probabilities"])


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    net = solved(apart=False)
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(net))
    with pytest.raises(UserError, match="weights of another network"):
        load_weights(Svm(SvmParams(apart=True), SPEC), tmp_path / "model.safetensors")


def test_what_cannot_be_solved_is_named() -> None:
    x, y, groups = masses(40)
    for labels, words in ((np.zeros_like(y), "only one of the two labels"), ((groups == 0).astype(int), "single")):
        net = ENTRY.build(SvmParams(), SPEC)
        net.partial_fit(torch.from_numpy(x), torch.from_numpy(labels), torch.from_numpy(groups))
        with pytest.raises(UserError, match=words):
            net.fit()
    for bad, words in ((slice(None), "noise a is never finite"), (slice(3), "noise a is not always finite")):
        broken = x.copy()
        broken[bad, 2] = np.nan
        net = ENTRY.build(SvmParams(), SPEC)
        net.partial_fit(torch.from_numpy(broken), torch.from_numpy(y))
        with pytest.raises(UserError, match=words):
            net.fit(NAMES)
    with pytest.raises(UserError, match="two labels"):
        ENTRY.build(SvmParams(), Spec("classify", ("a", "b", "c")))


def test_probes_lie_where_training_rows_did_and_survive_the_file() -> None:
    middle, spread = np.array([1e5, 0.01, 0.0], np.float32), np.array([4e4, 0.002, 0.5], np.float32)
    probes = feature_probes(middle, spread)
    rows = np.concatenate([probe.inputs["features"] for probe in probes])
    assert (np.abs(rows[:, :2] - middle[:2]) <= 3.01 * spread[:2]).all()
    assert set(rows[:, 2]) == {0.0, 1.0}
    assert len({len(probe.inputs["features"]) for probe in probes}) > 2
    back, _ = load_golden(dump_golden(probes, [{} for _ in probes]))
    for probe, stored in zip(probes, back, strict=True):
        assert isinstance(stored, Golden)
        assert np.array_equal(probe.inputs["features"], stored.inputs["features"])
