"""Promised and reached coverage of sets of classes, and how right the labels are that are made of them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medssl.common.files import write_csv, write_text
from medssl.metrics.coverage import CoverageCounts
from medssl.reports.figure_style import GREY, Look, legend, looks, new_figure, plain, save

Coverages = Mapping[str, Mapping[float | None, CoverageCounts]]
"""Counts by setting, such as the pooling, and by the accepted risk; None for labels without sets."""

ALL = "all"
RATIOS = ("coverage", "set_size", "kept_share", "precision", "recall")
_LABEL_RATIOS = RATIOS[2:]
"""Those that labels without sets have."""


def write_coverage(out: str | Path, coverages: Coverages, class_names: Sequence[str]) -> str:
    """Write ``coverage.csv``, ``coverage.md``, ``coverage.png`` and ``coverage.svg``.

    Args:
        out: the folder.
        coverages: what was counted on images that no calibration has seen.
        class_names: of all classes, in their order.

    Returns:
        The table as Markdown, classes and all.

    Raises:
        ValueError: other classes in the counts than names.
    """
    out = Path(out)
    rows = coverage_rows(coverages, class_names)
    write_csv(out / "coverage.csv", rows)
    table = coverage_table(rows)
    write_text(out / "coverage.md", table)
    save(coverage_figure(coverages, class_names), out / "coverage")
    return table


def coverage_rows(coverages: Coverages, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for all classes of a setting and risk, and one for each class.

    Columns: ``setting``, ``alpha``, ``promised`` (``1 - alpha``), ``class``, ``pixels`` of that reference,
    then the ratios of :class:`~medssl.metrics.CoverageCounts`. Empty where there is nothing to divide by.

    Args:
        coverages: as for :func:`write_coverage`.
        class_names: likewise.

    Raises:
        ValueError: other classes in the counts than names.
    """
    rows = []
    for setting, by_risk in coverages.items():
        for alpha, counts in by_risk.items():
            if len(counts.reference) != len(class_names):
                raise ValueError(f"{len(counts.reference)} classes are counted, {len(class_names)} named")
            head = {"setting": setting, "alpha": alpha, "promised": None if alpha is None else 1 - alpha}
            ratios = RATIOS if alpha is not None else _LABEL_RATIOS
            overall = {name: getattr(counts, f"overall_{name}") for name in ratios}
            rows.append(head | _row(ALL, int(counts.reference.sum()), overall))
            for label, name in enumerate(class_names):
                of_class = {ratio: float(getattr(counts, ratio)[label]) for ratio in ratios}
                rows.append(head | _row(name, int(counts.reference[label]), of_class))
    return rows


def _row(name: str, pixels: int, ratios: Mapping[str, float]) -> dict[str, Any]:
    values = {ratio: ratios.get(ratio, math.nan) for ratio in RATIOS}
    return {"class": name, "pixels": pixels} | {
        ratio: None if math.isnan(value) else value for ratio, value in values.items()
    }


def coverage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of :func:`coverage_rows` as Markdown."""
    table = [["setting", "promised", "class", "pixels", *(name.replace("_", " ") for name in RATIOS)]]
    for row in rows:
        promised = "" if row["promised"] is None else f"{row['promised']:.3g}"
        ratios = ["" if row[name] is None else f"{row[name]:.3f}" for name in RATIOS]
        table.append([str(row["setting"]), promised, str(row["class"]), str(row["pixels"]), *ratios])
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    aligned = ([f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)] for line in table)
    return "".join("| " + " | ".join(cells) + " |\n" for cells in aligned)


def coverage_figure(coverages: Coverages, class_names: Sequence[str]) -> Figure:
    """Promised against reached coverage, and precision and kept share of the labels of each class.

    Small marks in the left panel are single classes. The other two show the smallest risk of each setting.

    Args:
        coverages: as for :func:`write_coverage`.
        class_names: likewise.
    """
    shown = looks(coverages)
    height = max(3.4, 1.2 + 0.24 * len(class_names))
    figure, (reached, precision, kept) = new_figure(11, height, columns=3)
    _draw_reached(reached, coverages, shown)
    for axes, ratio, title in (
        (precision, "precision", "labels that are right"),
        (kept, "kept_share", "pixels that keep a label"),
    ):
        _draw_classes(axes, coverages, shown, ratio)
        axes.set_title(title)
        axes.set_yticks(range(len(class_names) + 1), [plain(name) for name in (*class_names, ALL)])
        axes.invert_yaxis()
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("share")
    kept.tick_params(labelleft=False)
    legend(figure, shown)
    return figure


def _draw_reached(axes: Axes, coverages: Coverages, shown: Mapping[str, Look]) -> None:
    ends = [1 - alpha for by_risk in coverages.values() for alpha in by_risk if alpha is not None]
    low, high = (min(ends) - 0.02, min(1.0, max(ends) + 0.02)) if ends else (0.0, 1.0)
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=":")
    step = 0.12 * (high - low) / max(1, len(coverages))
    for place, (setting, by_risk) in enumerate(coverages.items()):
        look = shown[setting]
        risks = sorted(alpha for alpha in by_risk if alpha is not None)
        promised = [1 - alpha + place * step for alpha in risks]  # beside each other
        overall = [by_risk[alpha].overall_coverage for alpha in risks]
        axes.plot(promised, overall, color=look.color, marker=look.marker, linestyle=look.line, zorder=3)
        for x, alpha in zip(promised, risks, strict=True):
            classes = by_risk[alpha].coverage.tolist()
            axes.plot([x] * len(classes), classes, look.marker, color=look.color, ms=3, alpha=0.45)
    axes.set_title("coverage (small: single classes)")
    axes.set_xlabel("promised, 1 - alpha")
    axes.set_ylabel("reached")


def _draw_classes(axes: Axes, coverages: Coverages, shown: Mapping[str, Look], ratio: str) -> None:
    for place, (setting, by_risk) in enumerate(coverages.items()):
        look = shown[setting]
        counts = by_risk[min(by_risk, key=lambda alpha: -1.0 if alpha is None else alpha)]
        values = [*getattr(counts, ratio).tolist(), getattr(counts, f"overall_{ratio}")]
        shift = 0.5 * ((place + 0.5) / len(coverages) - 0.5)
        rows = [row + shift for row in range(len(values))]
        axes.plot(values, rows, look.marker, color=look.color, linestyle="none")
