"""A data set at a glance: every case as one slice with its label, and histograms of what differs."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.files import atomic_path
from medssl.data.checks.case import CheckedCase, Scan
from medssl.data.checks.run import CheckResult
from medssl.data.checks.set_statistics import class_name
from medssl.data.checks.volumes import SIZE_UNITS

COLUMNS = 10
CASES_PER_SHEET = 100
COLOURS = {"training": "#0072b2", "unlabeled": "#7f7f7f", "validation": "#009e73", "test": "#cc79a7"}
"""One colour a list, told apart with colour-blind eyes as well (Okabe and Ito)."""

FRAMES = {"error": "#d62728", "warning": "#e69f00"}
CLASS_COLOURS = ("#ff4040", "#40c8ff", "#ffd000", "#70e050", "#d080ff", "#ff9030")


def prepare_report_folder(folder: str | Path) -> None:
    """Refuse a folder that holds something else than a report.

    Raises:
        InputError: it is a file, or has other content and no ``check.json``.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is not a folder", "choose another one for the report")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "check.json").is_file():
        raise InputError(folder, "holds something else than a report", "choose an empty folder")


def write_dataset_report(folder: str | Path, result: CheckResult) -> list[Path]:
    """Write the pictures of a data set.

    ``contact_sheet.png`` (``contact_sheet_2.png``, ... beyond 100 cases) shows the axial slice of each case
    with most foreground, outlines of its classes, and a frame where there is an error (red) or a warning
    (orange). ``histograms.png`` shows spacing, size, intensities and class sizes of each list.

    Args:
        folder: made if it is missing; pictures of an earlier report are replaced.
        result: of :func:`medssl.data.checks.run.check_datalist`.

    Returns:
        The files.
    """
    folder = Path(folder)
    written = []
    for number, start in enumerate(range(0, len(result.cases), CASES_PER_SHEET), 1):
        path = folder / f"contact_sheet{f'_{number}' if number > 1 else ''}.png"
        _save(_contact_sheet(result.cases[start : start + CASES_PER_SHEET], result), path)
        written.append(path)
    if any(case.scan is not None for case in result.cases):
        path = folder / "histograms.png"
        _save(_histograms(result), path)
        written.append(path)
    return written


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # Letters that the font lacks, in the name of a case, are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(temporary, dpi=110)


def _contact_sheet(cases: Sequence[CheckedCase], result: CheckResult) -> Figure:
    columns = min(COLUMNS, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(1.55 * columns + 0.2, 1.5 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    worst = {
        name: next(f.severity for f in result.findings if name in (f.case, f.other))
        for name in {n for f in result.findings for n in (f.case, f.other)}
    }
    for ax, case in zip(axes, cases, strict=False):
        _thumbnail(ax, case, worst.get(case.case, ""))
    for ax in axes[len(cases) :]:
        ax.set_axis_off()
    present = [name for name in COLOURS if any(case.split == name for case in cases)]
    handles: list[Artist] = [
        Line2D([], [], marker="s", linestyle="", color=COLOURS[name], label=name) for name in present
    ]
    handles += [
        Line2D([], [], marker="s", linestyle="", markerfacecolor="none", color=colour, label=severity)
        for severity, colour in FRAMES.items()
        if severity in worst.values()
    ]
    handles += [
        Line2D([], [], color=_class_colour(number), label=class_name(number, result.class_names))
        for number in _classes(result)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def _thumbnail(ax: Axes, case: CheckedCase, severity: str) -> None:
    name = case.case if len(case.case) <= 20 else case.case[:19] + "\N{HORIZONTAL ELLIPSIS}"
    ax.set_title(name, fontsize=6, color=COLOURS[case.split], pad=2)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_edgecolor(FRAMES.get(severity, "#cccccc"))
        spine.set_linewidth(2.0 if severity in FRAMES else 0.5)
    thumbnail = case.scan.thumbnail if case.scan is not None else None
    if thumbnail is None:
        words = "unreadable" if case.scan is None else "nothing to show"
        ax.text(0.5, 0.5, words, fontsize=7, color="#888888", ha="center", va="center")
        return
    ax.imshow(thumbnail.image, cmap="gray", vmin=0, vmax=1, aspect=thumbnail.aspect, interpolation="nearest")
    if thumbnail.label is not None:
        for number in np.unique(thumbnail.label).tolist():
            if number <= 0 or number == IGNORE:
                continue
            ax.contour(
                thumbnail.label == number, levels=[0.5], colors=[_class_colour(number)], linewidths=0.7
            )


def _classes(result: CheckResult) -> list[int]:
    numbers = {number for case in result.cases if case.scan for number in case.scan.class_sizes or {}}
    return sorted(number for number in numbers if number > 0 and number != IGNORE)[: len(CLASS_COLOURS)]


def _class_colour(number: int) -> str:
    return CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)]


def _histograms(result: CheckResult) -> Figure:
    classes = _classes(result)
    panels: list[tuple[str, Callable[[Scan], Sequence[float]]]] = [
        *((f"spacing, axis {k + 1} (mm)", lambda scan, k=k: scan.spacing[k : k + 1]) for k in range(3)),
        *((f"size, axis {k + 1} (voxels)", lambda scan, k=k: scan.size[k : k + 1]) for k in range(3)),
        ("mean intensity", lambda scan: [scan.intensities.mean] if scan.intensities else []),
        ("99% quantile of intensity", lambda s: [s.intensities.quantiles[2]] if s.intensities else []),
    ]
    rows = 3 + -(-len(classes) // 3)
    figure = Figure(figsize=(11, 2.5 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, 3).ravel()
    lists = [name for name in COLOURS if name in result.statistics]
    for ax, (title, value) in zip(axes, panels, strict=False):
        values = {
            name: [v for case in result.cases if case.split == name and case.scan for v in value(case.scan)]
            for name in lists
        }
        _histogram(ax, title, values)
    _intensities(axes[8], result, lists)
    for ax, number in zip(axes[9:], classes, strict=False):
        sizes = {
            name: [
                sizes[number]
                for case in result.cases
                if case.split == name and case.scan and number in (sizes := case.scan.class_sizes or {})
            ]
            for name in lists
        }
        unit = SIZE_UNITS[min(len(case.scan.size) for case in result.cases if case.scan)]
        _histogram(ax, f"{class_name(number, result.class_names)} ({unit})", sizes)
    for ax in axes[9 + len(classes) :]:
        ax.set_axis_off()
    handles = [Patch(color=COLOURS[name], label=f"{name}: {_cases(result, name)}") for name in lists]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False)
    return figure


def _cases(result: CheckResult, name: str) -> int:
    return sum(case.split == name for case in result.cases)


def _histogram(ax: Axes, title: str, values: dict[str, list[float]]) -> None:
    ax.set_title(title, fontsize=9)
    ax.tick_params(labelsize=7)
    ax.set_ylabel("cases", fontsize=8)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    everything = np.array([value for some in values.values() for value in some])
    if not len(everything):
        ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", va="center", color="#888888")
        return
    low, high = everything.min(), everything.max()
    if high - low < 1e-3 * max(abs(high), 1e-6):  # all alike: one bar, not rounding spread over many
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    edges = np.linspace(low, high, 22)
    shown = [name for name in values if values[name]]
    ax.hist([values[n] for n in shown], bins=edges.tolist(), stacked=True, color=[COLOURS[n] for n in shown])


def _intensities(ax: Axes, result: CheckResult, lists: Sequence[str]) -> None:
    """Shares of voxels by intensity, each case weighing the same."""
    ax.set_title("intensities of voxels", fontsize=9)
    ax.set_ylabel("share of voxels", fontsize=8)
    ax.tick_params(labelsize=7)
    known = [
        (case.split, case.scan.intensities) for case in result.cases if case.scan and case.scan.intensities
    ]
    if not known:
        return
    low = min(one.quantiles[0] for _, one in known)
    high = max(one.quantiles[2] for _, one in known)
    edges = np.linspace(low, high if high > low else low + 1, 61)
    for name in lists:
        shares = []
        for split, one in known:
            if split == name and (total := sum(one.counts)):
                # The stored histogram as a cumulative curve, read at the common edges.
                own = np.linspace(one.low, one.high, len(one.counts) + 1)
                cumulative = np.concatenate([[0.0], np.cumsum(one.counts) / total])
                shares.append(np.diff(np.interp(edges, own, cumulative)))
        if shares:
            ax.stairs(np.mean(shares, axis=0), edges, color=COLOURS[name], linewidth=1.2)
