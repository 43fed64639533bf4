"""A mixture of two normal distributions on a line: where scores of right and of wrong labels part."""

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_GAP = 1e-3
"""Least distance of the two means of a mixture that separates anything."""
MIN_WEIGHT = 0.01
"""Least weight of a component of such a mixture."""


@dataclass(frozen=True)
class TwoGaussians:
    """Two normal components on a line, the one of the lower mean first, from which AgScore selects.

    scikit-learn's ``GaussianMixture`` fits the same where it starts from the same means, but on the CPU, for
    which a training step on a GPU would have to wait.

    Attributes:
        means: ``(2,)``, in ascending order.
        variances: ``(2,)``.
        weights: ``(2,)``, shares that sum to 1.
        samples: how many values the fit has seen, a scalar int64.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor
    samples: Tensor

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        x: Tensor,
        valid: Tensor | None = None,
        *,
        iterations: int = 20,
        max_samples: int = 20_000,
        variance_floor: float = 1e-6,
    ) -> "TwoGaussians":
        """Fit by expectation and maximisation, without waiting for the device.

        The means start at the 10th and 90th percentile, both variances at that of all values, both weights at
        a half. Of more than ``max_samples`` values as many are taken, evenly spread over their order, the
        same in every call. Values that are not finite do not count.

        Args:
            x: values of any shape.
            valid: bool, of the shape of ``x``; the values that count, all where None.
            iterations: of expectation and maximisation.
            max_samples: at most so many values are looked at.
            variance_floor: least variance of a component.

        Raises:
            ValueError: shapes that differ, or an argument below 1 (``variance_floor``: not above 0).
        """
        if valid is not None and (valid.shape != x.shape or valid.dtype is not torch.bool):
            raise ValueError(f"valid must be bool {tuple(x.shape)}, got {valid.dtype} {tuple(valid.shape)}")
        for name, value in (("iterations", iterations), ("max_samples", max_samples)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not variance_floor > 0:
            raise ValueError(f"variance_floor must be above 0, got {variance_floor}")
        values, counts = _subsample(x, valid, max_samples)
        samples = counts.sum()
        total = samples.clamp_min(1)
        # Variances are small beside squared means: about the mean, nothing cancels.
        shift = (values * counts).sum() / total
        values = (values - shift) * counts
        ranked = torch.where(counts, values, torch.inf).sort().values
        tenth = (samples - 1) // 10
        means = ranked[torch.stack([tenth, samples - 1 - tenth]).clamp_min(0)]
        variances = (values.square().sum() / total).clamp_min(variance_floor).expand(2)
        weights = torch.full_like(means, 0.5)
        for _ in range(iterations):
            logs = _log_densities(values, means, variances, weights)
            shares = logs.softmax(0) * counts
            mass = shares.sum(1)
            divisor = mass.clamp_min(torch.finfo(mass.dtype).tiny)
            means = shares @ values / divisor
            variances = (shares * (values - means.unsqueeze(1)).square()).sum(1) / divisor
            variances = variances.clamp_min(variance_floor)
            weights = mass / total
        order = means.argsort()
        return cls(means[order] + shift, variances[order], weights[order], samples)

    @property
    def gap(self) -> Tensor:
        """Distance of the two means."""
        return self.means[1] - self.means[0]

    @property
    def separation(self) -> Tensor:
        """Distance of the means in units of the components' root mean square deviation."""
        return self.gap / self.variances.mean().sqrt()

    @property
    def degenerate(self) -> Tensor:
        """Bool scalar: these are not two groups.

        The means are nearer than :data:`MIN_GAP`, a weight is below :data:`MIN_WEIGHT`, or there were fewer
        than two values.
        """
        # Comparisons with NaN are false: a fit that went wrong is degenerate, too.
        parted = (self.gap >= MIN_GAP) & (self.weights.min() >= MIN_WEIGHT) & (self.samples >= 2)
        return ~parted

    def posterior(self, x: Tensor) -> Tensor:
        """Probability that a value is of the component of the higher mean.

        Args:
            x: of any shape.

        Returns:
            Of the shape and dtype of ``x``, in [0, 1]. With unequal variances it need not grow with ``x``:
            far from both means the wider component wins on both sides. :meth:`crossing` is a threshold.
        """
        flat = x.flatten().to(self.means.dtype)
        logs = _log_densities(flat, self.means, self.variances, self.weights)
        return (logs[1] - logs[0]).sigmoid().view(x.shape).to(x.dtype)

    def crossing(self) -> Tensor:
        """The value between the two means where the posterior is one half, a scalar.

        Between the means the posterior grows, whatever the variances. Where one component is the more likely
        one at both means, it does not cross, and the value is the lower mean (the upper component wins) or
        the higher one.
        """
        # With x = lower mean + t gap, the log odds are (p0 - p1) / 2 t^2 + p1 t + c.
        p0, p1 = self.gap.square() / self.variances
        c = (self.weights[1] / self.weights[0]).log() - (self.variances[1] / self.variances[0]).log() / 2
        c = c - p1 / 2
        root = (p1.square() - 2 * (p0 - p1) * c).clamp_min(0).sqrt()
        t = -2 * c / (p1 + root)  # no difference of like numbers, as the usual formula has
        t = torch.where(c >= 0, 0.0, torch.where(c + (p0 + p1) / 2 <= 0, 1.0, t))
        return self.means[0] + t * self.gap


def _log_densities(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor) -> Tensor:
    """Logarithm of weight times density at ``(n,)`` values, up to a constant: ``(2, n)``."""
    distance = (x - means.unsqueeze(1)).square() / variances.unsqueeze(1)
    return (weights.log() - variances.log() / 2).unsqueeze(1) - distance / 2


def _subsample(x: Tensor, valid: Tensor | None, max_samples: int) -> tuple[Tensor, Tensor]:
    """At most ``max_samples`` of the values that count, evenly spread, and which places hold one of them."""
    if x.numel() == 0:
        x, valid = x.new_zeros(1), torch.zeros(1, dtype=torch.bool, device=x.device)
    values = x.flatten()
    usable = values.isfinite() if valid is None else values.isfinite() & valid.flatten()
    if len(values) > max_samples:
        ends = usable.cumsum(0)
        total = ends[-1]
        places = torch.arange(max_samples, device=x.device)
        spread = torch.where(total > max_samples, (2 * places + 1) * total // (2 * max_samples), places)
        # The value of rank r, from 0, is the first at which r + 1 have been counted.
        index = torch.searchsorted(ends, spread + 1).clamp_max(len(values) - 1)
        values, usable = values[index], places < total
    # MPS has no float64.
    precise = values.to(torch.float32 if x.device.type == "mps" else torch.float64)
    return torch.where(usable, precise, 0.0), usable
