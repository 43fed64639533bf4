"""A plan: every decision of a training, from what was measured, what was asked for and what a step costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

from medssl.planning.decisions import Decision
from medssl.planning.fingerprint import Fingerprint
from medssl.planning.patch_search import Costs, GridAndPatch, search, shape_settings
from medssl.planning.rules import grid, intensities, patches, sampling
from medssl.planning.rules import schedule as schedules

STRIDED = ("vnet", "dynunet")
"""Networks that take strides and kernels."""


@dataclass(frozen=True)
class Wishes:
    """What the user says.

    Attributes:
        budget: seconds for a training and the scoring of its test cases.
        device: ``"cpu"`` or ``"cuda"``.
        method: overlay of the bundle, or a file; None to choose.
        modality: ``"ct"``, ``"mr"`` or ``"other"``; None to look.
        network: overlay of the bundle, or a file; None for the V-Net.
        cores: of the machine.
        memory_mb: MiB that may be taken; None for any.
        times_steps: whether costs are measured, so that precisions can be compared.
    """

    budget: float
    device: str = "cpu"
    method: str | None = None
    modality: str | None = None
    network: str | None = None
    cores: int = 1
    memory_mb: float | None = None
    times_steps: bool = True


@dataclass(frozen=True)
class Plan:
    """What was decided.

    Attributes:
        decisions: in the order in which a reader wants them.
        method: overlay of the method.
        network: overlay of the network; None for the method's.
        schedule: steps and their time.
        memory_mb: of a training, beside what the program takes anyway; None where nobody knows.
        pays: whether semi-supervised learning is likely to pay.
        verdict: that in words.
        not_known: what the data do not say, a line each, with the option that says it.
        class_names: of all classes, background first.
    """

    decisions: tuple[Decision, ...]
    method: str
    network: str | None
    schedule: schedules.Schedule
    memory_mb: float | None
    pays: bool
    verdict: str
    not_known: tuple[str, ...] = field(default_factory=tuple)
    class_names: tuple[str, ...] = ("background", "class 1")

    def value(self, name: str) -> Any:
        """The value of a decision.

        Raises:
            KeyError: no decision of that name.
        """
        for decision in self.decisions:
            if decision.name == name:
                return decision.value
        raise KeyError(name)


def make_plan(fingerprint: Fingerprint, wishes: Wishes, costs: Costs) -> Plan:
    """Decide everything.

    Deterministic in its arguments: equal costs give an equal plan.

    Raises:
        InputError: an unknown modality, or a budget that buys no training.
    """
    cropped, crop_reason = intensities.crops(fingerprint)
    found = search(
        fingerprint,
        costs,
        cropped=cropped,
        seconds=schedules.seconds_for_steps(wishes.budget),
        memory_mb=wishes.memory_mb,
        has_strides=wishes.network in (None, *STRIDED),
        measures_amp=wishes.times_steps,
    )
    stride = [max(1, side // 2) for side in found.patch]
    windows = prod(
        max(1, ceil((n - side) / step) + 1)
        for n, side, step in zip(found.size, found.patch, stride, strict=True)
    )
    window = costs.window(found.patch, amp=found.amp, **shape_settings(found.shape))
    timetable = schedules.schedule(
        wishes.budget,
        found.cost.seconds,
        windows * window,
        validation=fingerprint.validation,
        test=fingerprint.test,
    )
    method = wishes.method or _default_method(fingerprint, found)
    pays, verdict = schedules.pays(timetable.max_steps, method)
    cached = prod(found.size) * (4 * fingerprint.channels + 1) / 2**20
    cached *= len(fingerprint.cases) + fingerprint.validation
    return Plan(
        decisions=(
            *_about_data(fingerprint),
            *_about_grid(found, grid.orientation(fingerprint), stride),
            *_about_intensities(fingerprint, wishes, found, cropped, crop_reason),
            *_about_batches(fingerprint, found, cropped),
            *_about_schedule(fingerprint, wishes, found, timetable),
        ),
        method=method,
        network=wishes.network,
        schedule=timetable,
        memory_mb=None if found.cost.memory_mb is None else found.cost.memory_mb + cached,
        pays=pays,
        verdict=verdict,
        not_known=tuple(_not_known(fingerprint, wishes, found)),
        class_names=fingerprint.class_names,
    )


def _default_method(fingerprint: Fingerprint, found: GridAndPatch) -> str:
    return schedules.default_method(found.patch)[0] if fingerprint.unlabeled else "supervised"


def _about_data(fingerprint: Fingerprint) -> list[Decision]:
    source = "the datalist names them" if fingerprint.named else "of the ids in the labels"
    return [
        Decision("dataset_name", fingerprint.name, "name of the data set in run folders and tables"),
        Decision("num_classes", fingerprint.num_classes, f"background included; {source}"),
        Decision("class_names", list(fingerprint.class_names[1:]), f"of class 1, 2 and so on; {source}"),
        Decision("in_channels", fingerprint.channels, "of every scan"),
    ]


def _about_grid(
    found: GridAndPatch, orientation: tuple[str | None, str], stride: Sequence[int]
) -> list[Decision]:
    decisions = [
        Decision("orientation", *orientation),
        Decision("spacing", list(found.spacing) if found.resampled else None, found.spacing_reason),
        Decision("patch_size", list(found.patch), found.patch_reason),
        Decision("stride", list(stride), "windows of a prediction lie half a patch apart"),
    ]
    if found.shape.downsampling is not None:
        words = (
            f"voxels of {grid.times(found.spacing)} mm: a coarse or short axis is halved later, or not at all"
        )
        decisions += [
            Decision("network_strides", found.shape.downsampling.strides, words),
            Decision(
                "network_kernels",
                found.shape.downsampling.kernels,
                "side 1 along an axis until it is no coarser",
            ),
        ]
    return decisions


def _about_intensities(
    fingerprint: Fingerprint, wishes: Wishes, found: GridAndPatch, cropped: bool, crop_reason: str
) -> list[Decision]:
    kind, kind_reason, _ = intensities.modality(fingerprint, wishes.modality)
    normalize, reason = intensities.normalization(fingerprint, kind)
    steps = intensities.preprocessing(normalize, cropped=cropped, resampled=found.resampled)
    words = f"{reason} ({kind}: {kind_reason}). {'Crop' if cropped else 'No crop'}: {crop_reason}"
    return [Decision("preprocessing", list(steps), words)]


def _about_batches(fingerprint: Fingerprint, found: GridAndPatch, cropped: bool) -> list[Decision]:
    oriented = grid.orientation(fingerprint)[0] is not None
    axes, lateral, flip_reason = sampling.flips(fingerprint, oriented=oriented)
    patch_mm = tuple(n * side for n, side in zip(found.patch, found.spacing, strict=True))
    shares = sampling.class_shares(fingerprint, patch_mm, cropped=cropped)
    labeled, unlabeled, batch_reason = schedules.batch(fingerprint)
    return [
        Decision("flips", "random" if axes else "none", flip_reason),
        Decision("flip_axes", axes, "those along which a mirrored scan is anatomy still"),
        Decision(
            "lateral_classes", lateral, "left and right are told apart" if lateral else "no name says a side"
        ),
        Decision("oversampling", *sampling.oversampling(shares)),
        Decision("labeled_per_batch", labeled, batch_reason),
        Decision("unlabeled_per_batch", unlabeled, batch_reason),
    ]


def _about_schedule(
    fingerprint: Fingerprint, wishes: Wishes, found: GridAndPatch, timetable: schedules.Schedule
) -> list[Decision]:
    filters, width_reason = schedules.width(wishes.device)
    steps = timetable.max_steps
    workers = min(4, max(0, wishes.cores - 1)) if wishes.device == "cuda" else 0
    validations = steps // timetable.steps_per_epoch // timetable.val_interval
    step = f"{found.cost.seconds:.2g} s a step"
    return [
        Decision("width", filters, width_reason),
        Decision("dropout", *schedules.dropout(found.patch, filters)),
        Decision(
            "max_steps",
            steps,
            f"{step}: what the budget buys, {schedules.MOST_STEPS:,} at most",
        ),
        Decision("steps_per_epoch", timetable.steps_per_epoch, "some thirty checkpoints in a training"),
        Decision(
            "val_interval", timetable.val_interval, f"{validations} validations, in a tenth of the time"
        ),
        Decision("pseudo_label_interval", timetable.val_interval, "with the validations"),
        Decision("learning_rate", *schedules.learning_rate(steps, filters)),
        Decision(
            "lr_scheduler", "@polynomial", "nnU-Net's decay: a constant rate ends on a noisy checkpoint"
        ),
        Decision("max_grad_norm", 1.0, "one odd patch of few labelled scans cannot undo a training"),
        Decision(
            "ramp_share",
            0.3,
            "as published: unlabelled losses have their full weight after 6,000 of 20,000 steps",
        ),
        Decision("warmup_share", *_warmup(steps)),
        Decision("amp", found.amp, found.amp_reason),
        Decision(
            "num_workers", workers, "processes that augment; on a CPU they would take the training's cores"
        ),
        Decision("cache_workers", min(4, max(1, wishes.cores)), "threads that read the scans at the start"),
    ]


def _warmup(steps: int) -> tuple[float, str]:
    if steps >= schedules.LONG_RUN:
        return 0.005, "as published: mixing begins after 100 of 20,000 steps"
    return 0.1, "mixing waits until the teacher of a short training is worth something"


def _not_known(fingerprint: Fingerprint, wishes: Wishes, found: GridAndPatch) -> list[str]:
    kind, reason, sure = intensities.modality(fingerprint, wishes.modality)
    lines = []
    if not sure:
        lines.append(f"modality: {reason}; taken for {kind}, --modality says it")
    if kind == "ct" and fingerprint.channels > 1:
        lines.append("CT with several channels: each is normalised by its own z-score, not by a window")
    if not fingerprint.named:
        lines.append('names of the classes: add "classes": ["background", ...] to the datalist')
    if len(fingerprint.labeled) == 1:
        lines.append("what varies between labelled cases: there is only one")
    if grid.orientation(fingerprint)[0] is None:
        lines.append("which axis runs from left to right: some files do not say how their axes lie")
    if not fingerprint.validation:
        lines.append("which checkpoint is best: there is no validation case, so the last one counts")
    if not fingerprint.test:
        lines.append("how good the model will be: there is no test case")
    if not fingerprint.unlabeled:
        lines.append("what unlabelled scans would add: there are none")
    if not found.enough:
        lines.append(
            f"whether so small a patch suffices: it shows less than {patches.LEAST_SHARE:.0%} of a scan, and "
            "budget or memory allow no larger one on a grid that leaves small structures some voxels"
        )
    return lines
