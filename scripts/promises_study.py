"""Do the promises of ``medssl calibrate --risk`` hold? Before and after temperature scaling.

    python scripts/promises_study.py RUN [RUN ...] --datalist d.json --out STUDY

Validation cases calibrate, test cases judge, both with labels. Every case is predicted once for each run and
temperature, and its outcome is kept in STUDY: a study that was cut goes on. Beside the one split of the
datalist stands the mean over many random divisions of the same cases, for 50 test cases say little of a
coverage.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssl.common.draws import generator
from medssl.common.files import write_csv, write_text
from medssl.common.progress import log_to_terminal, track
from medssl.data import load_datalist
from medssl.inference.calibration import calibration_cases, measure_temperature
from medssl.inference.deployment import load_deployment
from medssl.reliability.risk_control import FallingLoss
from medssl.review.promise_fitting import (
    ClassOutcome,
    Outcomes,
    case_outcomes,
    fit_promises,
    part_for_temperature,
)
from medssl.review.promises import Promises

COLUMNS = (
    *("run", "temperature", "risk", "classes", "cases", "promised", "reached", "over_divisions"),
    *("mean_bound", "mean_dice", "band_mm", "captured", "captured_over_divisions", "wrong_core"),
)


def main() -> int:
    """Predict what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of trained runs")
    parser.add_argument("--datalist", required=True, help="with labelled validation and test cases")
    parser.add_argument("--out", required=True, type=Path, help="folder of what is found")
    parser.add_argument("--risks", nargs="+", type=float, default=[0.1, 0.2])
    parser.add_argument("--divisions", type=int, default=300, help="random ones of all cases (default 300)")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    log_to_terminal()
    rows: list[dict[str, Any]] = []
    for run in arguments.runs:
        for temperature in ("1", "fitted"):
            calibration, test = outcomes_of(run, temperature, arguments)
            about = {"run": run.name, "temperature": temperature}
            for risk in arguments.risks:
                for jointly in (False, True):
                    settings: dict[str, Any] = {"risk": risk, "jointly": jointly}
                    of_all = table_rows(calibration, test, divisions=arguments.divisions, **settings)
                    rows += [about | row for row in of_all]
    write_csv(arguments.out / "promises.csv", rows, columns=COLUMNS)
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    for row in rows:
        cells = [f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name]) for name in COLUMNS]
        print("| " + " | ".join(cells) + " |")
    return 0


def outcomes_of(
    run: Path, temperature: str, arguments: argparse.Namespace
) -> tuple[Sequence[Outcomes], Sequence[Outcomes]]:
    """Of the calibration cases (those that fit no temperature) and of the test cases."""
    path = arguments.out / f"{run.name}-temperature-{temperature}.json"
    if not path.exists():
        checkpoint = run / "last.pt"
        items, label_map = calibration_cases(checkpoint, arguments.datalist)
        for_temperature, others = part_for_temperature(items, 0)
        deployment = load_deployment([checkpoint], label_map=label_map)
        number = 1.0
        if temperature == "fitted":
            untempered = deployment.predictor(temperature=1.0, device=arguments.device)
            number = measure_temperature(deployment, untempered, for_temperature).temperature
        predictor = deployment.predictor(temperature=number, device=arguments.device)
        content = {}
        for name, cases in (("calibration", others), ("test", load_datalist(arguments.datalist)["test"])):
            outcomes = case_outcomes(deployment, predictor, cases, label_map=label_map)
            outcomes = track(outcomes, len(cases), title=f"{run.name} {name}", unit="case")
            content[name] = [{label: _plain(one) for label, one in case.items()} for case in outcomes]
        write_text(path, json.dumps({"temperature": number, **content}))
    content = json.loads(path.read_text(encoding="utf-8"))
    calibration, test = (
        [{int(label): _outcome(one) for label, one in case.items()} for case in content[name]]
        for name in ("calibration", "test")
    )
    return calibration, test


def table_rows(
    calibration: Sequence[Outcomes], test: Sequence[Outcomes], *, risk: float, jointly: bool, divisions: int
) -> list[dict[str, Any]]:
    """One row a class, or one for all classes."""
    labels = sorted({label for case in calibration for label in case})
    names = [str(label) for label in range(1, max(labels) + 1)]
    everything, draw = [*calibration, *test], generator("divisions", 0)
    targets = [labels] if jointly else [[label] for label in labels]
    divided: list[list[tuple[float, ...]]] = [[] for _ in targets]
    for _ in range(divisions):
        order = draw.permutation(len(everything))
        first, rest = ([everything[i] for i in part] for part in np.split(order, [len(calibration)]))
        promises = fit_promises(first, risk=risk, names=names, jointly=jointly)
        for of_target, target in zip(divided, targets, strict=True):
            of_target.append(reached(promises, rest, target))
    promises = fit_promises(calibration, risk=risk, names=names, jointly=jointly)
    rows = []
    for of_target, target in zip(divided, targets, strict=True):
        holds, bound, true_dice, captured, wrong = reached(promises, test, target)
        means = np.mean(of_target, axis=0)
        row: dict[str, Any] = {
            "risk": risk,
            "classes": " ".join(map(str, target)),
            "cases": len(test),
            "promised": 1 - risk,
        }
        row |= {
            "reached": holds,
            "over_divisions": float(means[0]),
            "mean_bound": bound,
            "mean_dice": true_dice,
        }
        row |= {"band_mm": promises.of_class(target[0]).outer_mm, "captured": captured}
        rows.append(row | {"captured_over_divisions": float(means[3]), "wrong_core": wrong})
    return rows


def reached(promises: Promises, cases: Sequence[Outcomes], labels: Sequence[int]) -> tuple[float, ...]:
    """Share of cases whose bounds hold, mean bound, mean Dice, captured share, wrong core (worst class)."""
    values: list[tuple[float, ...]] = []
    for case in cases:
        ones = [(promises.of_class(label), case[label]) for label in labels if label in case]
        bounds = [
            promises.dice_at_least(label, case[label].expected_dice) for label in labels if label in case
        ]
        if not ones:
            continue
        dices = [one.dice for _, one in ones]
        captured = 1 - max(float(one.missed.at(promise.outer_mm or 0.0)) for promise, one in ones)
        wrong = max(float(one.wrong_core.at(promise.inner_mm or 0.0)) for promise, one in ones)
        holds = all(bound <= true_dice for bound, true_dice in zip(bounds, dices, strict=True))
        values.append((float(holds), float(np.mean(bounds)), float(np.mean(dices)), captured, wrong))
    return tuple(float(value) for value in np.mean(np.array(values), axis=0))


def _plain(one: ClassOutcome) -> dict[str, Any]:
    losses = {name: getattr(one, name) for name in ("missed", "wrong_core")}
    steps = {name: [loss.widths.tolist(), loss.losses.tolist()] for name, loss in losses.items()}
    return {"expected_dice": one.expected_dice, "dice": one.dice, **steps}


def _outcome(plain: dict[str, Any]) -> ClassOutcome:
    steps = {name: FallingLoss(*map(np.asarray, plain[name])) for name in ("missed", "wrong_core")}
    return ClassOutcome(plain["expected_dice"], plain["dice"], **steps)


if __name__ == "__main__":
    sys.exit(main())
