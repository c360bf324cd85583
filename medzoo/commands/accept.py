"""`medzoo accept`: a model held against rules on local data; one page to sign."""

from __future__ import annotations

import hashlib
import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment
from medzoo.artifact.folder import sha256
from medzoo.artifact.locate import find_model
from medzoo.artifact.manifest import MANIFEST
from medzoo.commands.calibrate import SiteData, site_data
from medzoo.commands.verify import Check, verify
from medzoo.data.dataset import Dataset, Item, Sample
from medzoo.errors import UserError
from medzoo.evaluation import evaluate as score
from medzoo.io.atomic import atomic_write
from medzoo.loading.load import load
from medzoo.metrics import Metric
from medzoo.report.sections import metric_text
from medzoo.runtime.predictor import Predictor

FAMILIAR = ("familiar-yes", "familiar-unsure", "familiar-no")


class Rule(BaseModel):
    """A figure and the bound that it must keep; `bound`: of the value, or of an end of its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    bound: Literal["value", "low", "high"] = "value"

    @model_validator(mode="after")
    def _one(self) -> Rule:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def words(self) -> str:
        """The rule in words."""
        side = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        end = {"value": "", "low": "lower end of the interval ", "high": "upper end of the interval "}[self.bound]
        return f"{self.figure}: {end}{side}"


class Rules(BaseModel):
    """The rules of a site, fixed before the model is tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200)


@dataclass(frozen=True)
class Judged:
    """A rule, what was measured, and whether it keeps the rule."""

    rule: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Acceptance:
    """The outcome: checks of the folder, figures here beside the card's, and each rule."""

    model: str
    passed: bool
    checks: Sequence[Check]
    figures: Sequence[Metric]
    rules: Sequence[Judged]
    familiar: Mapping[str, float]
    items: int
    page: Path

    def to_dict(self) -> dict[str, Any]:
        """The document of `accept --json`."""
        return {
            "model": self.model,
            "passed": self.passed,
            "items": self.items,
            "figures": [metric.to_dict() for metric in self.figures],
            "familiar": dict(self.familiar),
            "rules": [{"rule": one.rule, "found": one.found, "passed": one.passed} for one in self.rules],
            "page": str(self.page),
        }


def accept(
    model: str | Path, *, on: str | Path, rules: str | Path | None = None, out: str | Path | None = None
) -> Acceptance:
    """Verify MODEL on this machine, score it on local labelled cases (see `site_data`), and judge it by `rules`.

    `rules`: a YAML file, a list `rules` of figures with `at_least` or `at_most`; figures are the recipe's metrics and
    familiar-yes, -unsure, -no. Without it the checks of the folder decide alone. The page is written to `out` (default:
    NAME-acceptance.html). Raises UserError for what cannot be tried at all.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which has no card to compare with", str(path), "give the model folder")
    folder = ModelFolder.open(path)
    wanted = _read_rules(Path(rules)) if rules is not None else None
    checks = verify(path)
    local = site_data(folder, on)
    if not local.items:
        raise UserError("there are no items that the model was not trained on", str(on))
    predictor = load(path)
    metrics, familiar = _score(predictor, folder, local)
    measured = {metric.name: metric for metric in metrics}
    judged = [_judge(rule, measured, familiar) for rule in wanted.rules] if wanted is not None else []
    target = Path(out) if out is not None else Path(f"{folder.name}-acceptance.html")
    passed = all(one.passed for one in judged)
    found = Acceptance(folder.name, passed, checks, metrics, judged, familiar, len(local.items), target)
    page = _page(found, folder, local, rules=Path(rules) if rules is not None else None)
    atomic_write(target, lambda file: file.write(page.encode()))
    return found


def _read_rules(path: Path) -> Rules:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"is not YAML: {str(error).splitlines()[0]}", str(path)) from error
    try:
        return Rules.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        way = "as in rules: [{figure: auc, at_least: 0.85}]"
        raise UserError(f"{place}: {first['msg']}", str(path), way) from error


class _Relabelled:
    """Samples whose labels are counted as the model counts them."""

    def __init__(self, data: Dataset, order: Sequence[int]) -> None:
        self.data, self.order = data, order

    def items(self) -> Sequence[Item]:
        return self.data.items()

    def load(self, item: Item) -> Sample:
        sample = self.data.load(item)
        number: Any = sample.target
        return replace(sample, target=self.order[int(number)])


def _score(predictor: Predictor, folder: ModelFolder, local: SiteData) -> tuple[Sequence[Metric], dict[str, float]]:
    labels = list(folder.manifest["labels"])
    data: Any = local.data
    if list(local.recipe.labels) != labels and predictor.metadata.task == "classify":
        data = _Relabelled(data, [labels.index(label) for label in local.recipe.labels])
    verdicts: list[str] = []
    watched = _Watched(predictor, verdicts)
    scores = score(
        watched,
        data,
        local.items,
        metrics=local.recipe.metrics,
        group=local.recipe.data.split.group,
        split="local",
    )
    total = max(1, len(verdicts))
    return scores.metrics(), {name: verdicts.count(name.removeprefix("familiar-")) / total for name in FAMILIAR}


class _Watched(Predictor):
    """A predictor that notes the verdict on each input."""

    def __init__(self, predictor: Predictor, verdicts: list[str]) -> None:
        self.__dict__.update(predictor.__dict__)
        self.verdicts = verdicts

    def predict_prepared(self, prepared: Any) -> Any:
        """See Predictor.predict_prepared."""
        result = super().predict_prepared(prepared)
        if result.familiar is not None:
            self.verdicts.append(result.familiar.verdict)
        return result


def _judge(rule: Rule, measured: Mapping[str, Metric], familiar: Mapping[str, float]) -> Judged:
    value: float | None
    if rule.figure in familiar:
        value, text = familiar[rule.figure], f"{100 * familiar[rule.figure]:.1f} %"
    elif rule.figure in measured:
        metric = measured[rule.figure]
        value, text = getattr(metric, rule.bound), metric_text(metric.to_dict())
    else:
        known = ", ".join([*measured, *familiar])
        raise UserError(f"there is no figure {rule.figure!r}", "rules", f"there are {known}")
    if value is None:
        return Judged(rule.words(), f"{text}, without an interval", False)
    kept = value >= rule.at_least if rule.at_least is not None else value <= (rule.at_most or 0.0)
    return Judged(rule.words(), text, bool(kept))


def _page(found: Acceptance, folder: ModelFolder, local: SiteData, *, rules: Path | None) -> str:
    made = environment()
    card = {metric["name"]: metric_text(metric) for metric in folder.manifest["metrics"]["figures"]}
    ids = "\n".join(sorted(item.id for item in local.items))
    facts = {
        "model": f"{folder.name}, manifest SHA-256 {sha256(folder.path / MANIFEST)}",
        "data": f"{local.source}: {found.items} items of {local.recipe.data.type}, "
        f"SHA-256 of their names {hashlib.sha256(ids.encode()).hexdigest()}",
        "rules": "none: the checks alone" if rules is None else f"{rules.name}, SHA-256 {sha256(rules)}",
        "machine": f"{made['cores']} cores of {made['processor']}",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    rows = [(one.rule, one.found, "passed" if one.passed else "FAILED") for one in found.rules]
    figures = [
        (metric.name, metric_text(metric.to_dict()), card.get(metric.name, "-"), metric.protocol)
        for metric in found.figures
    ]
    seen = [
        (name, f"{100 * share:.1f} %", "", "") for name, share in found.familiar.items() if sum(found.familiar.values())
    ]
    style = Path(__file__).parents[1] / "report" / "page.css"
    return Template(_PAGE).substitute(
        style=style.read_text(encoding="utf-8"),
        name=html.escape(folder.name),
        verdict="Passed" if found.passed else "Failed",
        facts=_table(list(facts.items())),
        checks=_table([(check.name, check.words, "passed") for check in found.checks]),
        rules=_table([("rule", "found", ""), *rows], head=True) if rows else "<p>No rules were given.</p>",
        figures=_table([("figure", "here", "on the card", "protocol"), *figures, *seen], head=True),
    )


def _table(rows: Sequence[Sequence[str]], *, head: bool = False) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if head and number == 0 else "td"
        cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Acceptance of $name</title>
<link rel="icon" href="data:,">
<style>
$style
.sign { display: flex; gap: 3rem; margin-top: 3rem; } .sign div { flex: 1; border-top: 1px solid; padding-top: .3rem; }
td { overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Acceptance of $name: $verdict</h1>
<p class="warn"><strong>Not a medical device.</strong> For research and teaching.</p>
$facts
<h2>Checks on this machine</h2>
$checks
<h2>Rules</h2>
$rules
<h2>Figures, in brackets the 95 % interval</h2>
$figures
<div class="sign"><div>Name</div><div>Date</div><div>Signature</div></div>
</body>
</html>
"""
