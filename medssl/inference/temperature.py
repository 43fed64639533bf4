"""Temperature scaling: one number, fitted on validation cases, that makes confidences mean what they say.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks". The predicted classes stay what they are.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medssl.common.constants import IGNORE
from medssl.common.errors import InputError
from medssl.common.files import sha256_of_file, write_text
from medssl.metrics import CalibrationError, ProperScores

VOXELS_A_CASE = 200_000
"""Voxels drawn from each case; a case has millions, and one number needs fewer."""

TINY = 2.0**-24
"""The smallest number that float16 holds; probabilities below it count as it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TemperatureFit:
    """What was fitted, and what it changed on the voxels it was fitted on.

    Attributes:
        temperature: above 1 where the model was overconfident.
        cases: number of cases.
        voxels: number of voxels.
        ece_before: expected calibration error, 15 bins.
        ece_after: the same at the temperature.
        nll_before: negative log-likelihood in nats.
        nll_after: the same at the temperature.
    """

    temperature: float
    cases: int
    voxels: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float


def tempered(probs: Tensor, temperature: float) -> Tensor:
    """``p_k^(1/T) / sum_j p_j^(1/T)``: for one window the softmax of logits over ``T``.

    Of the mean over windows, which has no logits, so that what is fitted is what is applied.

    Args:
        probs: ``(K, *S)``.
        temperature: above 0.
    """
    if temperature == 1:
        return probs
    return torch.softmax(probs.clamp(min=TINY).log() / temperature, 0)


def fit_temperature(
    cases: Iterable[tuple[Tensor, Tensor]], *, seed: int = 0, temperature: float | None = None
) -> TemperatureFit:
    """Minimise the negative log-likelihood over the temperature (LBFGS on its logarithm).

    Args:
        cases: probabilities ``(K, *S)`` and class ids ``(*S)`` of each validation case; voxels of 255, which
            nobody labelled, are left out.
        seed: of the voxels that are drawn.
        temperature: take this one and measure it, instead of fitting one.

    Raises:
        InputError: no case.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for probs, labels in cases:
        flat, ids = probs.flatten(1).float(), labels.flatten().long()
        known = ids != IGNORE
        flat, ids = flat[:, known], ids[known]
        some = torch.randperm(len(ids), generator=generator)[:VOXELS_A_CASE]
        drawn.append((flat[:, some], ids[some]))
    if not drawn:
        raise InputError("calibration", "no validation case", "name a list of cases with labels")
    probs, labels = torch.cat([p for p, _ in drawn], 1), torch.cat([y for _, y in drawn])
    if temperature is None:
        temperature = _likeliest_temperature(probs, labels)
    before, after = _scores(probs, labels), _scores(tempered(probs, temperature), labels)
    return TemperatureFit(temperature, len(drawn), len(labels), before[0], after[0], before[1], after[1])


def _likeliest_temperature(probs: Tensor, labels: Tensor) -> float:
    logits = probs.clamp(min=TINY).log().T.double()
    exponent = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([exponent], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits * torch.exp(-exponent), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    # A model without an error would be sharpened without end.
    return min(max(math.exp(float(exponent.detach())), 0.05), 20.0)


def _scores(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    calibration, scores = CalibrationError(), ProperScores()
    for metric in (calibration, scores):
        metric.update(probs, labels)
    return calibration.compute(), scores.negative_log_likelihood


def calibration_file(checkpoint: str | Path) -> Path:
    """Where a checkpoint's temperature lies: ``last.calibration.json`` beside ``last.pt``."""
    return Path(checkpoint).with_suffix(".calibration.json")


def save_temperature(
    checkpoint: str | Path,
    fit: TemperatureFit,
    *,
    promises: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the temperature beside the checkpoint, with the checkpoint's SHA-256.

    Args:
        checkpoint: that.
        fit: of :func:`fit_temperature`.
        promises: of :class:`medssl.review.promises.Promises`, as plain data; None for none.
        overwrite: replace what is there, with the promises in it.

    Raises:
        InputError: there is one already and ``overwrite`` was not asked for.
    """
    path = calibration_file(checkpoint)
    if path.exists() and not overwrite:
        raise InputError(path, "exists already", "add --overwrite")
    content = {"checkpoint_sha256": sha256_of_file(checkpoint), **asdict(fit)}
    if promises is not None:
        content["promises"] = promises
    write_text(path, json.dumps(content, indent=2) + "\n")
    return path


def read_calibration(checkpoint: str | Path, *, warn: bool = True) -> dict[str, Any] | None:
    """What :func:`save_temperature` wrote; None where nothing is there, or where it is another checkpoint's.

    Args:
        checkpoint: that.
        warn: say so where it is another checkpoint's.

    Raises:
        InputError: the file is damaged.
    """
    path = calibration_file(checkpoint)
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        temperature, digest = float(content["temperature"]), content["checkpoint_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, "not a calibration", "write it anew with `medssl calibrate`") from error
    if not temperature > 0:
        raise InputError(path, f"temperature {temperature}", "write it anew with `medssl calibrate`")
    if digest != sha256_of_file(checkpoint):
        if warn:
            logger.warning("%s belongs to another state of %s: not used", path, Path(checkpoint).name)
        return None
    return content


def stored_temperature(checkpoint: str | Path) -> float:
    """The temperature beside a checkpoint; 1 where there is none, or where it is another checkpoint's.

    Raises:
        InputError: the file is damaged.
    """
    content = read_calibration(checkpoint)
    return 1.0 if content is None else float(content["temperature"])
