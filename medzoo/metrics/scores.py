"""Per-item results of an evaluation: the file evaluation.json of a model folder, and every metric from it.

The file holds what each item was and what the model answered, so that tables by subgroup, curves, and paired
comparisons with another model come from it later, without the data and without the model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Accumulator, paired_differences
from medzoo.metrics.classify import ClassifyScores, reliability
from medzoo.metrics.compute import accumulator, restore_records
from medzoo.metrics.interval import Metric

FILE = "evaluation.json"
FORMAT = 1


@dataclass(frozen=True)
class Scope:
    """The scored part of the data and the protocol: all that a record needs to be recomputed.

    `metrics`: names that the task's accumulator was asked for (empty: all); `threshold`: the operating
    threshold; `conformal`: (threshold, stated coverage) of a classifier's sets; `seed`: of the bootstrap;
    `group`: the key that intervals resample by; `split`: the part of the data, and `split_digest` the SHA-256 of
    the whole split.
    """

    model: str
    task: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...] = ()
    threshold: float | None = None
    seed: int = 0
    group: str = ""
    split: str = "test"
    split_digest: str = ""
    conformal: tuple[float, float] | None = None

    def accumulator(self, names: Sequence[str] | None = None) -> Accumulator:
        """An empty accumulator of this scope, of `names` in place of its own."""
        wanted = self.metrics if names is None else names
        return accumulator(
            self.task,
            self.labels,
            wanted or None,
            threshold=self.threshold,
            conformal=self.conformal if names is None else None,
            seed=self.seed,
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """One accumulator a protocol, the one that counts first; "" names the only protocol of most models.

    `by_size`: the size-only baseline of a protocol, for models that measure masses. `facts`: by item, what is
    known of it beside its label: words (its source) and lengths (`diameter_px`, `diameter_mm`, `volume_ml`).
    """

    scope: Scope
    protocols: dict[str, Accumulator] = field(default_factory=dict)
    by_size: dict[str, Accumulator] = field(default_factory=dict)
    facts: dict[str, dict[str, str | float]] = field(default_factory=dict)

    def accumulator_of(self, protocol: str) -> Accumulator:
        """The accumulator of a protocol, made where there is none yet."""
        return self.protocols.setdefault(protocol, self.scope.accumulator())

    @property
    def main(self) -> Accumulator:
        """The accumulator of the protocol that counts."""
        return next(iter(self.protocols.values()))

    @property
    def items(self) -> Sequence[str]:
        """The items that were scored."""
        return self.main.items

    def only(self, items: Iterable[str], *, metrics: Sequence[str] | None = None) -> Scores:
        """The scores of some of the items, and of `metrics` in place of the scope's."""
        wanted = set(items)
        scope = self.scope if metrics is None else replace(self.scope, metrics=tuple(metrics), conformal=None)

        def some(every: Mapping[str, Accumulator], empty: Callable[[Accumulator], Accumulator]) -> dict[str, Any]:
            return {
                name: restore_records(empty(one), [record for record in one.records() if record["item"] in wanted])
                for name, one in every.items()
            }

        return Scores(
            scope,
            some(self.protocols, lambda _: scope.accumulator()),
            some(self.by_size, lambda one: accumulator(scope.task, scope.labels, one.names, seed=scope.seed)),
            {item: facts for item, facts in self.facts.items() if item in wanted},
        )

    def reliability(self) -> dict[str, list[dict[str, Any]]]:
        """Reliability of a classification by protocol: rows of confidence and accuracy with Wilson intervals."""
        return {
            protocol: [row for row in reliability(scores.truth, scores.probabilities) if row["n"]]
            for protocol, scores in self.protocols.items()
            if isinstance(scores, ClassifyScores) and scores.items
        }

    def metrics(self) -> list[Metric]:
        """Every metric with its interval; of a named protocol as protocol/name, with its size-only baseline
        (protocol/name/size-only) and the paired difference to it (protocol/name/minus-size-only)."""
        found: list[Metric] = []
        for protocol, scores in self.protocols.items():
            metrics = scores.metrics()
            if protocol in self.by_size:
                baseline = self.by_size[protocol]
                for metric in baseline.metrics():
                    words = f"size-only baseline, masses ranked by their diameter: {metric.protocol}"
                    metrics.append(replace(metric, name=f"{metric.name}/size-only", protocol=words))
                for metric in paired_differences(scores, baseline):
                    words = metric.protocol.replace("first minus second", "the model minus the size-only baseline")
                    metrics.append(replace(metric, name=f"{metric.name}/minus-size-only", protocol=words))
            if protocol:
                words = protocol.replace("-", " ")
                metrics = [
                    replace(metric, name=f"{protocol}/{metric.name}", protocol=f"{words}: {metric.protocol}")
                    for metric in metrics
                ]
            found += metrics
        return found

    def to_bytes(self) -> bytes:
        """The file: JSON, one item a line, so that it stays small and differences can be read."""
        head = {
            "format": FORMAT,
            **{name: getattr(self.scope, name) for name in Scope.__dataclass_fields__},
            "facts": self.facts,
        }
        parts = [f'"{name}": {_json(value)}' for name, value in head.items()]
        for kind, every in (("protocols", self.protocols), ("by_size", self.by_size)):
            blocks = []
            for name, scores in every.items():
                lines = ",\n".join(_json(record) for record in scores.records())
                blocks.append(f'{_json(name)}: {{"metrics": {_json(scores.names)}, "records": [\n{lines}\n]}}')
            parts.append(f'"{kind}": {{' + ",\n".join(blocks) + "}")
        return ("{" + ",\n".join(parts) + "}\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, *, where: str) -> Scores:
        """Undo `to_bytes`. Raises UserError naming `where` if this is no such file."""
        try:
            stored = json.loads(raw)
            if stored["format"] != FORMAT:
                raise UserError(
                    f"has format {stored['format']}, but this version of medzoo reads format {FORMAT}", where
                )
            tuples = {
                name: tuple(stored[name]) for name in ("labels", "metrics", "conformal") if stored.get(name) is not None
            }
            scope = Scope(**{name: stored[name] for name in Scope.__dataclass_fields__ if name in stored} | tuples)
            scores = cls(scope, facts=stored["facts"])
            for name, block in stored["protocols"].items():
                scores.protocols[name] = restore_records(scope.accumulator(), block["records"])
            for name, block in stored["by_size"].items():
                empty = accumulator(scope.task, scope.labels, block["metrics"], seed=scope.seed)
                scores.by_size[name] = restore_records(empty, block["records"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is not an evaluation file: {error}", where, "medzoo train writes one") from None
        return scores


def read_scores(path: Path) -> Scores:
    """The scores in a model folder's evaluation.json. Raises UserError if there are none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from error
    return Scores.from_bytes(raw, where=str(path))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
