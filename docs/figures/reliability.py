"""Draw reliability diagrams of the zoo's mass models, from their manifests.

    python docs/figures/reliability.py

Bars are Wilson 95 % intervals; the size of a point is its number of masses. Writes reliability.png beside this
file. Needs the extra `train`.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
ZOO = HERE.parents[1] / "zoo"
MODELS = ("breast-mass-svm", "breast-mass-svm-classic", "nodule-svm")


def main() -> None:
    """Draw one panel a model, one colour a protocol."""
    figure, axes = plt.subplots(1, len(MODELS), figsize=(4.2 * len(MODELS), 4.4), sharey=True)
    for axis, name in zip(axes, MODELS, strict=True):
        metrics = json.loads((ZOO / name / "manifest.json").read_text())["metrics"]
        figures = {one["name"]: one["value"] for one in metrics["figures"]}
        axis.plot([0.5, 1], [0.5, 1], color="0.7", lw=1)
        for colour, (protocol, rows) in zip(("C0", "C1"), metrics["reliability"].items(), strict=False):
            for row in rows:
                low, high = row["accuracy"] - row["low"], row["high"] - row["accuracy"]
                axis.errorbar(row["confidence"], row["accuracy"], [[max(low, 0)], [max(high, 0)]], color=colour, lw=0.8)
                axis.scatter(row["confidence"], row["accuracy"], s=12 + 3 * row["n"], color=colour, alpha=0.7)
            ece = figures[f"{protocol}/ece"]
            axis.scatter([], [], color=colour, label=f"{protocol.replace('-', ' ')}, ECE {ece:.3f}")
        axis.set_title(name)
        axis.set_xlabel("probability of the answer")
        axis.set_xlim(0.48, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.legend(loc="lower right", frameon=False, fontsize=9)
    axes[0].set_ylabel("share that is right")
    figure.tight_layout()
    figure.savefig(HERE / "reliability.png", dpi=100)


if __name__ == "__main__":
    main()
