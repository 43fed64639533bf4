"""TCSeg's training step written plainly, as the yardstick of ``benchmark.py train``.

The same mathematics as ``medssl.methods.TCSeg(preset="reference")``, in the way research code writes it:
probabilities computed anew wherever they are needed, prototypes and cosines by broadcasting
``(B, K, C, *S)``, masks by boolean indexing, a loop over parameters for the teacher.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medssl.methods import Batch, TCSeg
from medssl.networks import Output


def plain_affinity(features: Tensor, logits: Tensor, tau_min: float, tau_max: float) -> Tensor:
    """Cosine of every voxel with the mean embedding of each class, ``(B, K, *S)``, by broadcasting."""
    probs = torch.softmax(logits, 1)
    winner = probs.argmax(1)
    confident = (probs[:, 1] >= tau_max) | (probs[:, 1] <= tau_min)
    classes = torch.arange(probs.shape[1], device=probs.device).view(1, -1, 1, 1, 1)
    mask = (winner.unsqueeze(1) == classes) & confident.unsqueeze(1)
    mask = mask.unsqueeze(2).float()
    spread = features.unsqueeze(1)
    prototypes = (spread * mask).sum((3, 4, 5)) / mask.sum((3, 4, 5)).clamp(min=1)
    return F.cosine_similarity(spread, prototypes[..., None, None, None], dim=2)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Difference of the foreground channel."""
    return (a[:, 1] - b[:, 1]).abs()


def _dice(logits: Tensor, labels: Tensor) -> Tensor:
    probs = torch.softmax(logits, 1)[:, 1]
    target = (labels == 1).float()
    return 1 - (2 * (probs * target).sum() + 1e-8) / (probs.sum() + target.sum() + 1e-8)


def plain_step(
    student: nn.Module, teacher: nn.Module, batch: Batch, method: TCSeg, step: int, ramp: float
) -> Tensor:
    """The loss of one step for two classes; ``method`` only lends its thresholds and its random regions."""
    tau, tau_min, tau_max = method.rule.tau, method.rule.tau_min, method.rule.tau_max
    labeled = len(batch.labels)
    out: Output = student(batch.images())
    with torch.no_grad():
        out_t: Output = teacher(batch.unlabeled["weak"])
        pairs = zip(out_t.features, out_t.logits, strict=True)
        q_t = [plain_affinity(f, v, tau_min, tau_max) for f, v in pairs]
    q = [plain_affinity(f, v, tau_min, tau_max) for f, v in zip(out.features, out.logits, strict=True)]

    loss: Tensor = sum((F.cross_entropy(v[:labeled], batch.labels) + _dice(v[:labeled], batch.labels)) / 4
               for v in out.logits)  # type: ignore[assignment]  # fmt: skip

    running = F.mse_loss(torch.softmax(out.logits[0], 1), torch.softmax(out.logits[1], 1))
    running = running + 0.25 * F.mse_loss(q[0], q[1])
    calibration: Any = 0
    pseudo: Any = 0
    for own, peer in ((0, 1), (1, 0)):
        running = running + 0.25 * F.mse_loss(q[own], torch.softmax(out.logits[own], 1))
        calibration = calibration + running
        with torch.no_grad():
            p_s = [torch.softmax(v[labeled:], 1) for v in out.logits]
            q_s = [v[labeled:] for v in q]
            certain = (
                (_apart(p_s[0], p_s[1]) <= tau)
                & (_apart(q_s[0], q_s[1]) <= 2 * tau)
                & (_apart(q_t[0], q_t[1]) <= 2 * tau)
                & (_apart(q_s[peer], p_s[peer]) <= 2 * tau)
            )
            believed, label = p_s[peer].max(1)
            positive = certain & (believed >= tau_max)
            negative = certain.unsqueeze(1) & (p_s[peer] <= tau_min)
        if positive.any():
            voxelwise = F.cross_entropy(out.logits[own][labeled:], label, reduction="none") * believed
            pseudo = pseudo + voxelwise[positive].mean()
        if negative.any():
            ruled_out = -torch.log(torch.clamp(1 - torch.softmax(out.logits[own][labeled:], 1), 1e-6, 1))
            pseudo = pseudo + (ruled_out * p_s[peer])[negative].mean()
    loss = loss + ramp * (pseudo + calibration)

    with torch.no_grad():
        p_t = [torch.softmax(v, 1) for v in out_t.logits]
        p_s = [torch.softmax(v[labeled:], 1) for v in out.logits]
        mean = ((p_s[0] + p_s[1] + p_t[0] + p_t[1]) / 4)[:, 1]
        unreliable = (
            ((mean >= tau_min) & (mean <= tau_max))
            | (_apart(p_s[0], p_s[1]) > tau)
            | (_apart(p_t[0], p_t[1]) > tau)
            | (_apart(q_s[0], q_s[1]) > 2 * tau)
            | (_apart(q_t[0], q_t[1]) > 2 * tau)
        )
        boxes = method._draw_regions(unreliable, step)[1]
    mixed, targets = [], []
    for i in range(labeled):
        inside = boxes[i] if i % 2 == 0 else ~boxes[i]
        mixed.append(torch.where(inside, batch.unlabeled["weak"][i], batch.labeled_images[i]))
        targets.append([torch.where(inside, p_t[b][i].argmax(0), batch.labels[i]) for b in (1, 0)])
    out_m: Output = student(torch.stack(mixed))
    for b in (0, 1):
        loss = loss + 0.5 * F.cross_entropy(out_m.logits[b], torch.stack([t[b] for t in targets]))
    return loss


def plain_teacher_update(teacher: nn.Module, student: nn.Module, step: int) -> None:
    """The moving average, one parameter after another."""
    alpha = min(1 - 1 / (step + 1), 0.99)
    with torch.no_grad():
        for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            mine.mul_(alpha).add_(theirs, alpha=1 - alpha)
