"""What is promised, and what is not, in words for those who read the review."""

from medssl.reliability.conformal.quantiles import conformal_rank
from medssl.reliability.risk_control import coverage_to_expect, fewest_cases
from medssl.review.promises import ClassPromise, Promises


def promise_words(promises: Promises) -> list[str]:
    """Sentences for the page: a heading, the promises, class by class, and their limits."""
    share, risk = _percent(1 - promises.risk), _percent(promises.risk)
    scope = "for all classes of a case at once" if promises.jointly else "for each class by itself"
    cases = f"{promises.cases} cases with references"
    lines = [f"Promises at a risk of {risk} {scope}, calibrated on {cases}"]
    lines.append(
        f"Dice at least: in at least {share} of new cases the Dice reaches this bound. Band: prediction and "
        f"band together (values 1 to 3 of its map) hold at least {share} of the true structure on average; "
        f"what is wrong in the core (value 3) is at most {risk} of the prediction on average."
    )
    lines += [f"{name}: {_of_class(one, promises.risk)}." for name, one in promises.classes.items()]
    lines += [
        "They hold for cases like those of the calibration: same scanners, same protocol, same kind of "
        "patients, and on average over many of them. Nobody knows which bounds are the ones that fail: of a "
        "single case nothing is certain.",
        "They do not hold for other hospitals, scanners or diseases, nor for cases that were picked by their "
        "look, by their uncertainty or from the top of this list: among the worst cases more bounds fail.",
        "A class that was not predicted has no bound and no band: nothing is promised of a structure that "
        "was missed wholly.",
    ]
    if not promises.jointly and len(promises.classes) > 1:
        lines.append(
            "The bounds of several classes hold together less often than each by itself; "
            "medssl calibrate --jointly promises all at once. Bound and band may fail in different cases."
        )
    lines += [f"Caution: {caution}." for caution in promises.cautions]
    return lines


def _of_class(one: ClassPromise, risk: float) -> str:
    if one.overestimate is None:
        return f"predicted in {one.cases} calibration cases only, too few: no bound and no band"
    return (
        f"band {one.outer_mm:.2f} mm outwards and {one.inner_mm:.2f} mm inwards; from {one.cases} cases, and "
        f"with so few the bounds of one calibration in 20 hold in fewer than "
        f"{coverage_to_expect(one.cases, risk):.0%} of cases"
    )


def _percent(share: float) -> str:
    """With all its digits: rounded up it would promise too much."""
    return f"{100 * share:.6g}%"


def promise_table(promises: Promises) -> str:
    """What was fitted, for the command that fitted it: a line a class, and the limits that it has."""
    scope = "all classes of a case at once" if promises.jointly else "each class by itself"
    lines = [f"promises at a risk of {promises.risk:g} for {scope}, from {promises.cases} cases:"]
    for name, one in promises.classes.items():
        if one.overestimate is None:
            few = f"predicted in {one.cases} cases, {fewest_cases(promises.risk)} are needed"
            lines.append(f"  {name}: {few}: no bound, no band")
            continue
        rank = conformal_rank(one.cases, promises.risk)
        lines.append(
            f"  {name}: Dice at least the expected {-one.overestimate:+.4f} (rank {rank} of {one.cases}, "
            f"level {rank / (one.cases + 1):.4f}); "
            f"band {one.outer_mm:.3f} mm outwards, {one.inner_mm:.3f} mm inwards"
        )
    lines += [f"caution: {caution}" for caution in promises.cautions]
    return "\n".join(lines)
