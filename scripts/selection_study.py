"""Why a selector helps or does not: how confidence and agent score tell right from wrong pseudo-labels.

    python scripts/selection_study.py RUN [RUN ...] --images IMAGES --labels LABELS --out OUT

The last checkpoint of every run looks at labelled images that it was not trained on, whole and without
augmentation, four in a batch. Everything is measured on the grid of the embeddings. ``OUT/selection.csv`` has
a row a run:

- ``accuracy``: share of the pseudo-labels that is right;
- ``auroc_confidence``, ``auroc_agents``: how often a right pixel scores above a wrong one, 0.5 by chance;
- ``tpr_*``, ``fpr_*``: of what is selected by a confidence of 0.95, and by the mixture of agent scores;
- ``fpr_confidence_same_tpr``: of the confidence that selects as many of the right ones as the mixture does;
- ``positive_right``, ``negative_wrong``: shares of the agents that are what they stand for;
- ``separation_fitted``: distance of the mixture's means in units of its deviation;
  ``separation_true``: the same of the scores of right and of wrong pixels;
- ``fpr_lemma``, ``fpr_measured``: at a TPR of 0.8, from the moments of these scores (Lemma 4.3), and as it
  is.

``OUT/selection.png`` shows, a row a run, the scores of right and wrong pixels with the fitted mixture, and
the ROC curves.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from scipy.stats import mannwhitneyu, norm
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.files import write_csv
from medssl.common.progress import track
from medssl.inference import load_run
from medssl.inference.deployment import Deployment
from medssl.metrics import false_positive_rate_at, fpr_at_tpr
from medssl.reliability import AgentScore, TwoGaussians
from medssl.reliability.agents import unit_embeddings
from medssl.reliability.grids import on_grid
from medssl.reports.figure_style import COLORS, GREY, new_figure, plain, save

THRESHOLD = 0.95
TPR = 0.8
BATCH = 4


@dataclass(frozen=True)
class Look:
    """What a network says of one batch, at the pixels that have a label, ``(n,)`` each.

    Attributes:
        confidence: in [0, 1].
        score: of the agents, in (0, 1).
        right: bool, whether the most probable class is the reference's.
        mixture: fitted to the scores.
        positive_right: bool, of every positive agent with a label.
        negative_wrong: bool, of every negative one.
    """

    confidence: Tensor
    score: Tensor
    right: Tensor
    mixture: TwoGaussians
    positive_right: Tensor
    negative_wrong: Tensor

    @property
    def selected(self) -> Tensor:
        """Bool: above the mixture's crossing, or confident where the mixture is none."""
        return torch.where(
            self.mixture.degenerate, self.confidence >= THRESHOLD, self.score > self.mixture.crossing()
        )


def looks_of(run: Deployment, pairs: Sequence[tuple[Path, Path]], agents: AgentScore) -> Iterator[Look]:
    """The network's look at every batch."""
    network, load = run.networks[0], run.loader("label")
    for number, start in enumerate(range(0, len(pairs), BATCH)):
        batch = pairs[start : start + BATCH]
        images = torch.stack(
            [run.transform({"image": str(image)})["image"].as_tensor() for image, _ in batch]
        )
        labels = torch.stack([load({"label": str(label)})["label"].as_tensor() for _, label in batch])
        with torch.inference_mode():
            output = network(images)
            features, probs = output.features[0], output.logits[0].softmax(1)
            grid = features.shape[2:]
            probs = on_grid(probs, grid)
            top = probs.max(1)
            truth = F.interpolate(labels.float(), grid, mode="nearest-exact").squeeze(1).long()
            known = truth != IGNORE
            right = top.indices == truth
            embeddings = unit_embeddings([features])
            chosen = agents.choose(embeddings, probs, number=number)
            score = agents.score(embeddings, chosen)
        labelled = chosen.present & known.flatten()[chosen.index]
        of_agents = right.flatten()[chosen.index]
        positive = torch.arange(len(labelled)) < chosen.num_positive
        yield Look(
            top.values[known],
            score[known],
            right[known],
            TwoGaussians.fit(score),
            of_agents[labelled & positive],
            ~of_agents[labelled & ~positive],
        )


def row_of(name: str, looks: Sequence[Look]) -> dict[str, object]:
    """The measurements of a run: means over its batches, shares over all their pixels."""

    def share(entries: Sequence[Tensor]) -> float:
        return float(torch.cat(list(entries)).double().mean())

    def mean(values: Sequence[float]) -> float:
        return float(np.nanmean(values))

    right = [look.right for look in looks]
    rates = {"accuracy": share(right)}
    for title, scores in (
        ("confidence", [x.confidence for x in looks]),
        ("agents", [x.score for x in looks]),
    ):
        rates[f"auroc_{title}"] = mean([auroc(s, r) for s, r in zip(scores, right, strict=True)])
    chosen = {"confidence": [x.confidence >= THRESHOLD for x in looks], "agents": [x.selected for x in looks]}
    for title, selected in chosen.items():
        rates[f"tpr_{title}"] = share([s[r] for s, r in zip(selected, right, strict=True)])
        rates[f"fpr_{title}"] = share([s[~r] for s, r in zip(selected, right, strict=True)])
    rates["fpr_confidence_same_tpr"] = fpr_at_tpr(
        torch.cat([x.confidence for x in looks]), torch.cat(right), min(max(rates["tpr_agents"], 1e-6), 1.0)
    )
    rates["positive_right"] = share([x.positive_right for x in looks])
    rates["negative_wrong"] = share([x.negative_wrong for x in looks])
    rates["separation_fitted"] = mean([float(x.mixture.separation) for x in looks])
    moments = [(x.score[x.right], x.score[~x.right]) for x in looks]
    rates["separation_true"] = mean(
        [float((r.mean() - w.mean()) / ((r.var() + w.var()) / 2).sqrt()) for r, w in moments]
    )
    rates["fpr_lemma"] = mean(
        [
            false_positive_rate_at(
                TPR, gap=float(r.mean() - w.mean()), positive_std=float(r.std()), negative_std=float(w.std())
            )
            for r, w in moments
        ]
    )
    rates["fpr_measured"] = mean([fpr_at_tpr(x.score, x.right, TPR) for x in looks])
    return {"run": name} | {key: round(value, 4) for key, value in rates.items()}


def auroc(scores: Tensor, right: Tensor) -> float:
    """Area under the ROC curve: how often a right pixel scores above a wrong one, ties by halves."""
    above, below = scores[right].numpy(), scores[~right].numpy()
    return float(mannwhitneyu(above, below).statistic / (len(above) * len(below)))


def draw(axes: Sequence[Axes], name: str, look: Look) -> None:
    """The scores of one batch, and the ROC curves."""
    histogram, curves = axes
    edges = np.linspace(float(look.score.min()), float(look.score.max()), 60)
    for mask, title, color in ((look.right, "right", COLORS[0]), (~look.right, "wrong", COLORS[1])):
        weights = np.full(int(mask.sum()), 1 / (len(look.score) * (edges[1] - edges[0])))
        histogram.hist(
            look.score[mask].numpy(), edges.tolist(), weights=weights, color=color, alpha=0.5, label=title
        )
    grid = np.linspace(edges[0], edges[-1], 300)
    fitted = look.mixture
    for mean, variance, weight in zip(fitted.means, fitted.variances, fitted.weights, strict=True):
        density = float(weight) * norm.pdf(grid, float(mean), float(variance) ** 0.5)
        histogram.plot(
            grid, density, color="black", lw=1.2, label="fitted" if mean == fitted.means[0] else None
        )
    histogram.axvline(
        float(fitted.crossing()), color=GREY, linestyle="--", lw=1.2, label="selected from here"
    )
    histogram.set(xlabel="agent score", ylabel="density")
    histogram.set_title(plain(name))
    histogram.legend(fontsize=8)
    for scores, title, color in (
        (look.confidence, "confidence", COLORS[2]),
        (look.score, "agent score", COLORS[0]),
    ):
        order = scores.argsort(descending=True)
        right = look.right[order].double()
        curves.plot(
            (1 - right).cumsum(0) / (1 - right).sum(), right.cumsum(0) / right.sum(), color=color, label=title
        )
    for selected, marker, title in (
        (look.confidence >= THRESHOLD, "o", f"confidence {THRESHOLD}"),
        (look.selected, "s", "mixture"),
    ):
        rates = [float(selected[mask].double().mean()) for mask in (~look.right, look.right)]
        curves.plot(*rates, marker, color="black", ms=6, label=title)
    curves.set(xlabel="FPR", ylabel="TPR")
    curves.legend(fontsize=8, loc="lower right")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="how selectors tell right from wrong pseudo-labels")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--labels", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    images = sorted(path for path in arguments.images.iterdir() if path.is_file())
    labels = {path.stem: path for path in arguments.labels.iterdir()}
    missing = [path for path in images if path.stem not in labels]
    if missing:
        raise InputError(missing[0], f"has no label in {arguments.labels}", "name labels as their images")
    pairs = [(path, labels[path.stem]) for path in images]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    figure, axes = new_figure(9, 3.2 * len(arguments.runs), len(arguments.runs), 2)
    for place, run in enumerate(track(arguments.runs, len(arguments.runs), title="runs", unit="run")):
        looks = list(looks_of(load_run(run).deployment, pairs, AgentScore(seed=arguments.seed)))
        rows.append(row_of(Path(run).name, looks))
        draw(axes[2 * place : 2 * place + 2], Path(run).name, looks[0])
        write_csv(arguments.out / "selection.csv", rows, columns=list(rows[0]))
    save(figure, arguments.out / "selection")
    for row in rows:
        print(*(f"{key} {value}" for key, value in row.items()), sep="  ")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as fault:
        sys.exit(f"error: {fault}")
