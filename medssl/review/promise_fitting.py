"""From cases with labels to what may be promised of new ones; see :mod:`medssl.review.promises`."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.transforms import Compose

from medssl.common.draws import generator
from medssl.common.errors import InputError, find_input_error
from medssl.common.progress import track
from medssl.data.checks.findings import refuse
from medssl.data.checks.volumes import grid_faults
from medssl.data.lists.scans import KEPT
from medssl.inference.calibration import calibration_cases, measure_temperature
from medssl.inference.deployment import Deployment, load_deployment
from medssl.inference.predictor import Predictor
from medssl.inference.temperature import TemperatureFit, calibration_file, save_temperature
from medssl.inference.windows import WindowWeights
from medssl.metrics import dice
from medssl.reliability.risk_control import (
    FallingLoss,
    conformal_bound,
    controlled_width,
    fewest_cases,
    largest_loss,
)
from medssl.review.boundary_band import missed_share, wrong_core_share
from medssl.review.case import clean_labels
from medssl.review.kinds import KINDS
from medssl.review.options import PackageOptions
from medssl.review.promises import ClassPromise, Promises
from medssl.review.segmentations import is_sheared
from medssl.review.settings import prediction_settings

TEMPERATURE_SHARE = 0.2
"""Of the cases: these fit the temperature and no promise, since a promise about a temperature that was fitted
on the same cases would not be exact."""


@dataclass(frozen=True)
class ClassOutcome:
    """One class of one predicted case, compared with its reference.

    Attributes:
        expected_dice: that the probabilities expect.
        dice: true one; 0 where the reference lacks the class.
        missed: of the reference, outside a band: :func:`~medssl.review.boundary_band.missed_share`.
        wrong_core: :func:`~medssl.review.boundary_band.wrong_core_share`.
    """

    expected_dice: float
    dice: float
    missed: FallingLoss
    wrong_core: FallingLoss


Outcomes = Mapping[int, ClassOutcome]
"""Of one case, by class id; classes that were not predicted are not there."""


def case_outcomes(
    deployment: Deployment,
    predictor: Predictor,
    items: Sequence[Mapping[str, Any]],
    *,
    label_map: Mapping[Any, Any] | None = None,
    options: PackageOptions | None = None,
) -> Iterator[Outcomes]:
    """Predict cases as :func:`~medssl.review.case.review_case` does, and compare them with their labels.

    Args:
        deployment: the model.
        predictor: of it, as predictions will be made.
        items: with ``image`` and ``label``.
        label_map: of their datalist.
        options: clean-up of the labels.

    Raises:
        InputError: a case that cannot be read, whose label lies on another grid, or whose axes are not
            perpendicular.
    """
    load, *preprocess = deployment.transform.transforms
    load_label = deployment.loader("label", label_map=label_map)
    for item in items:
        try:
            loaded = load({key: item[key] for key in KEPT if key in item})
            reference = load_label({"label": item["label"]})["label"]
        except Exception as error:
            raise (find_input_error(error) or error) from None
        refuse(grid_faults(loaded["image"], reference))
        affine = np.asarray(loaded["image"].meta["original_affine"], np.float64)
        if is_sheared(affine):
            raise InputError(
                item["image"],
                "has axes that are not perpendicular",
                "leave it out",
            )
        spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
        prediction = predictor(Compose(preprocess)(loaded)["image"])
        labels = clean_labels(prediction.labels, options or PackageOptions())
        truth = reference.as_tensor()[0].numpy()
        outcomes = {}
        for label in range(1, predictor.num_classes):
            expected, predicted = prediction.soft_overlap[label], labels == label
            if math.isnan(expected):
                continue
            outcomes[label] = ClassOutcome(
                expected,
                dice(labels, truth, label=label),
                missed_share(predicted, truth == label, spacing),
                wrong_core_share(predicted, truth == label, spacing),
            )
        yield outcomes


def fit_promises(
    outcomes: Sequence[Outcomes],
    *,
    risk: float,
    names: Sequence[str],
    jointly: bool = False,
    settings: Mapping[str, Any] | None = None,
    cautions: Sequence[str] = (),
) -> Promises:
    """What may be promised of a new case that is exchangeable with these.

    The bound on the Dice is a split conformal one on the error of the expected Dice; the band is controlled
    in the mean (:mod:`medssl.reliability.risk_control`). Both are of cases in which the class is predicted;
    of a class that is not predicted nothing is promised.

    Args:
        outcomes: of every case.
        risk: in (0, 1).
        names: of class 1, 2 and so on.
        jointly: for all classes of a case at once, through the worst of them; else for each class by itself.
        settings: how the cases were predicted.
        cautions: see :class:`~medssl.review.promises.Promises`.

    Raises:
        InputError: fewer cases than the risk needs, for every class.
    """
    check_number(len(outcomes), risk)
    classes = {}
    for label, name in enumerate(names, 1):
        with_class = [case for case in outcomes if label in case]
        together = [
            list(case.values()) if jointly else [case[label]] for case in outcomes if jointly or label in case
        ]
        together = [of_case for of_case in together if of_case]
        overestimate = conformal_bound(
            [max(one.expected_dice - one.dice for one in of_case) for of_case in together], risk
        )
        enough = math.isfinite(overestimate)
        outer, inner = (
            controlled_width(
                [largest_loss([getattr(one, loss) for one in of_case]) for of_case in together], risk
            )
            if enough
            else math.inf
            for loss in ("missed", "wrong_core")
        )
        classes[name] = ClassPromise(
            cases=len(together),
            overestimate=overestimate if enough else None,
            outer_mm=_rounded_up(outer) if enough else None,
            inner_mm=_rounded_up(inner) if enough else None,
            mean_expected_dice=_mean([case[label].expected_dice for case in with_class]),
            mean_dice=_mean([case[label].dice for case in with_class]),
        )
    if all(one.overestimate is None for one in classes.values()):
        most = max(one.cases for one in classes.values())
        check_number(most, risk, what="cases in which a class is predicted")
    return Promises(risk, jointly, len(outcomes), classes, dict(settings or {}), tuple(cautions))


def check_number(count: int, risk: float, *, what: str = "cases") -> None:
    """Refuse a risk outside of (0, 1), or one that so few cases cannot promise.

    Raises:
        InputError: either.
    """
    if not 0 < risk < 1:
        raise InputError(f"risk {risk}", "not between 0 and 1", "0.1, say: what holds for nine of ten cases")
    if count < fewest_cases(risk):
        least = 1 / (count + 1)
        raise InputError(
            f"{count} {what}",
            f"too few for a risk of {risk:g}, which needs {fewest_cases(risk)}",
            f"label more, or choose a risk of at least {math.ceil(least * 1000) / 1000:g}",
        )


def calibrate_with_promises(
    checkpoint: str | Path,
    datalist_file: str | Path,
    *,
    risk: float,
    jointly: bool = False,
    list_name: str = "validation",
    temperature: float | None = None,
    stride: Sequence[int] | None = None,
    weights: WindowWeights = "constant",
    flip_axes: Collection[int] = (),
    amp: Literal["off", "bf16"] | None = None,
    device: torch.device | str | None = None,
    options: PackageOptions | None = None,
    seed: int = 0,
    allow: Collection[str] = (),
    overwrite: bool = False,
) -> tuple[TemperatureFit, Promises]:
    """Fit a temperature and promises on cases with labels, and keep both beside the checkpoint.

    A fifth of the cases (:data:`TEMPERATURE_SHARE`), drawn patient by patient, fits the temperature, and the
    others the promises, on the way that a prediction takes at that temperature.

    Args:
        checkpoint: a ``best.pt`` or ``last.pt``.
        datalist_file: a MONAI datalist.
        risk: in (0, 1).
        jointly: see :func:`fit_promises`.
        list_name: a list; cases without a label are left out.
        temperature: this one; then all cases serve the promises.
        stride: see :meth:`~medssl.inference.deployment.Deployment.predictor`.
        weights: likewise.
        flip_axes: likewise.
        amp: likewise.
        device: likewise.
        options: clean-up, as predictions will have it.
        seed: of the cases and voxels that are drawn for the temperature.
        allow: see :func:`~medssl.inference.deployment.load_deployment`.
        overwrite: replace what is there.

    Raises:
        InputError: as :func:`~medssl.inference.calibration.calibrate`, :func:`case_outcomes` and
            :func:`fit_promises`; a model for images.
    """
    items, label_map = calibration_cases(checkpoint, datalist_file, list_name=list_name)
    options = options or PackageOptions()
    path = calibration_file(checkpoint)
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "add --overwrite")
    for_temperature, others = (items, items) if temperature is not None else part_for_temperature(items, seed)
    check_number(len(others), risk, what=f"cases of list {list_name!r}" + _beside(items, others))
    deployment = load_deployment([checkpoint], allow=allow, label_map=label_map)
    trained = deployment.description
    if len(trained.patch_size) != 3:
        fault = "is for scans, and this model is for images"
        raise InputError("--risk", fault, "leave it out: the temperature is fitted all the same")
    plan: dict[str, Any] = {"stride": stride, "weights": weights, "flip_axes": flip_axes}
    plan |= {"amp": amp, "device": device}
    untempered = deployment.predictor(temperature=1.0, **plan)
    fit = measure_temperature(deployment, untempered, for_temperature, temperature=temperature, seed=seed)
    predictor = deployment.predictor(temperature=fit.temperature, **plan)
    kind = KINDS[3]
    outcomes = case_outcomes(deployment, predictor, others, label_map=label_map, options=options)
    promises = fit_promises(
        list(track(outcomes, len(others), title="promises", unit="case")),
        risk=risk,
        names=[segment.name for segment in kind.classes(trained.num_classes, trained.class_names or ())],
        jointly=jointly,
        settings=prediction_settings(predictor, deployment.transform, options),
        cautions=list(_cautions(checkpoint, list_name, others)),
    )
    save_temperature(checkpoint, fit, promises=promises.plain(), overwrite=overwrite)
    return fit, promises


def part_for_temperature(
    items: Sequence[dict[str, Any]], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those that fit the temperature, and the others; no patient is among both."""
    patients = sorted({_patient(item) for item in items})
    order = generator("temperature cases", seed).permutation(len(patients))
    count = math.ceil(TEMPERATURE_SHARE * len(patients))
    drawn = {patients[index] for index in order[:count]}
    return (
        [item for item in items if _patient(item) in drawn],
        [item for item in items if _patient(item) not in drawn],
    )


def _patient(item: Mapping[str, Any]) -> str:
    return str(item.get("patient", item["case"]))


def _beside(items: Sequence[Any], others: Sequence[Any]) -> str:
    apart = len(items) - len(others)
    return f", beside {apart} that fit the temperature (none with --temperature)" if apart else ""


def _cautions(checkpoint: str | Path, list_name: str, items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if Path(checkpoint).name == "best.pt" and list_name == "validation":
        yield "the validation cases chose this checkpoint: what is promised may be a little too good"
    patients = len({_patient(item) for item in items})
    if patients < len(items):
        yield f"{len(items)} cases are of {patients} patients: they count for less than so many"
    if any("roi" in item for item in items):
        yield "the cases were cropped around their labels, which new scans do not have"


def _rounded_up(width: float) -> float:
    """To a micrometre, so that the spacing's last digits do not matter."""
    return math.ceil(width * 1000 - 1e-6) / 1000


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
