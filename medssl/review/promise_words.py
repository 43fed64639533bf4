"""What is promised, and what is not, in words for those who read the review."""

from medssl.reliability.risk_control import conformal_rank, coverage_to_expect, fewest_cases
from medssl.review.promises import ClassPromise, Promises


def promise_words(promises: Promises) -> list[str]:
    """Sentences for the page: a heading, the promises class by class, and their limits."""
    share = f"{1 - promises.risk:.0%}"
    scope = " for all classes of a case at once" if promises.jointly else " for each class by itself"
    lines = [
        f"Promises at a risk of {promises.risk:.0%}{scope}, calibrated on {promises.cases} cases with references."
    ]
    lines += [f"{name}: {_of_class(one, share, promises)}" for name, one in promises.classes.items()]
    lines += [
        f"They hold for cases like those of the calibration: same scanners, same protocol, same kind of patients, and "
        f"on average over many such cases. For {share} of new cases the Dice is at least the bound; which cases are "
        "the others nobody knows, and of one single case nothing is certain.",
        "They do not hold for other hospitals, scanners or diseases, and not for cases picked by their look, by their "
        "uncertainty or from the top of this list: among the worst, more bounds fail.",
        "A class that was not predicted has no bound and no band: nothing is promised of what was missed wholly.",
    ]
    if not promises.jointly and len(promises.classes) > 1:
        lines.append(
            "Of several classes at once the bounds hold less often than of each "
            "(medssl calibrate --jointly promises them together); bound and band of one class likewise."
        )
    lines += [f"Caution: {caution}." for caution in promises.cautions]
    return lines


def _of_class(one: ClassPromise, share: str, promises: Promises) -> str:
    if one.overestimate is None:
        return f"predicted in {one.cases} calibration cases only, too few: no bound and no band."
    least = coverage_to_expect(one.cases, promises.risk)
    return (
        f"the Dice is at least the bound in {share} of cases; the prediction and the band (map band, value 1; "
        f"{one.outer_mm:.2f} mm outwards) hold on average at least {share} of the true structure; on average at most "
        f"{promises.risk:.0%} of the prediction is wrong in its core (value 3; deeper than {one.inner_mm:.2f} mm). "
        f"From {one.cases} cases; with so few the bound may in truth hold for {least:.0%} only (one calibration in 20)."
    )


def promise_table(promises: Promises) -> str:
    """What was fitted, for the command that fitted it: a line a class, and the limits that it has."""
    scope = "all classes of a case at once" if promises.jointly else "each class by itself"
    lines = [f"promises at a risk of {promises.risk:g} for {scope}, from {promises.cases} cases:"]
    for name, one in promises.classes.items():
        if one.overestimate is None:
            few = (
                f"predicted in {one.cases} cases, {fewest_cases(promises.risk)} are needed: no bound, no band"
            )
            lines.append(f"  {name}: {few}")
            continue
        rank = conformal_rank(one.cases, promises.risk)
        lines.append(
            f"  {name}: Dice at least the expected one {-one.overestimate:+.4f} (rank {rank} of {one.cases}, level "
            f"{rank / (one.cases + 1):.4f}); band {one.outer_mm:.3f} mm outwards, {one.inner_mm:.3f} mm inwards"
        )
    lines += [f"caution: {caution}" for caution in promises.cautions]
    return "\n".join(lines)
