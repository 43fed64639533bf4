"""Run folders without a training: everything that a report reads, made from the Dice scores handed in."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medssl.common.run_folder import PSEUDO_LABEL_COLUMNS
from medssl.metrics import EMPTY_POLICY
from medssl.metrics.table import CASE_METRICS, CLASS_METRICS, METRICS, Metric

Scores = Sequence[float] | Sequence[Sequence[float]]
COST = {
    "parameters": 12_347_716,
    "deployed_parameters": 9_447_778,
    "seconds_per_step": 0.5,
    "peak_memory_mb": 512.0,
    "device": "cpu",
    "threads": 1,
}
VERSIONS = {"python": "3.11.7", "medssl": "0.1.0", "torch": "2.13.0", "monai": "1.6.1", "numpy": "2.4.6"}


def plausible(metric: Metric, dice: float) -> float:
    """A value that is the better the higher the Dice is."""
    if metric.name == "dice":
        return dice
    if metric.lower_is_better:
        return round((50 if metric.unit == "distance" else 0.2) * (1 - dice), 6)
    return round(0.5 + 0.45 * dice, 6)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_run(
    folder: Path,
    *,
    dataset: str = "toy",
    setting: str = "TCSeg",
    method: str | None = None,
    labeled: int = 4,
    seed: int = 1,
    selection: str = "validation",
    status: str = "finished",
    dice_best: Scores | None = (0.8, 0.7, 0.9),
    dice_last: Scores | None = (0.78, 0.69, 0.9),
    cases: Sequence[str] | None = None,
    metrics: Mapping[str, Sequence[float]] | None = None,
    without: Sequence[str] = (),
    empty: Mapping[str, str] | None = None,
    policy: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    extras: bool = True,
) -> Path:
    """Write one run; the folder is returned.

    Args:
        folder: the run's folder, made with its parents.
        dataset: name of the data set.
        setting: the row's name in a table.
        method: name of the method's class; ``setting`` by default.
        labeled: labelled cases.
        seed: the run's seed.
        selection: "validation", "test-oracle" or "none" (then nothing is written of a best checkpoint).
        status: "running", "finished", "failed" or "interrupted".
        dice_best: one Dice a test case, or for several classes one list a case; None writes no file.
        dice_last: the same of the last checkpoint.
        cases: their names; "case-01" and so on by default.
        metrics: other columns that shall hold these values, one a case, in both checkpoints.
        without: columns that the scores do not have.
        empty: what is empty, by case: "prediction", "reference" or "both".
        policy: entries of the reliability file's policy that differ.
        config: entries of config.yaml that differ.
        record: entries of run.json that differ, such as git_commit; a value None is written as null.
        extras: validation scores, pseudo_labels.csv and log.jsonl as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {"dataset": dataset, "method": method or setting, "setting": setting}
    facts: dict[str, Any] = {
        **names,
        "labeled": labeled,
        "seed": seed,
        "selection": selection,
        "split_sha256": sha256(f"split {dataset} {labeled}"),
        "dataset_fingerprint": sha256(f"data {dataset}"),
        "test_fingerprint": sha256(f"test {dataset}"),
        "status": status,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None if status == "running" else "2026-01-01T01:00:00+00:00",
        "message": "RuntimeError: out of memory" if status == "failed" else None,
        "versions": VERSIONS,
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "command": ["medssl", "protocol", "run"],
        "cost": COST if status == "finished" else {},
    }
    facts |= record or {}
    (folder / "run.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    settings = {"dataset_name": dataset, "labeled": labeled, "seed": seed, "run_dir": str(folder)}
    settings |= {"max_steps": 1000, "method_name": names["method"]} | dict(config or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    if selection == "none":
        dice_best = None
    for checkpoint, dice in (("best", dice_best), ("last", dice_last)):
        if dice is None:
            continue
        titles = cases or [f"case-{n:02d}" for n in range(1, len(dice) + 1)]
        _write_scores(
            folder, checkpoint, titles, dice, metrics or {}, without, empty or {}, policy or {}, "test"
        )
        if extras and selection != "none":
            titles = [f"validation-{n:02d}" for n in range(1, 3)]
            _write_scores(folder, checkpoint, titles, dice[:2], {}, without, {}, policy or {}, "validation")
    if extras:
        _write_training(folder, seed)
    return folder


def _write_scores(
    folder: Path,
    checkpoint: str,
    cases: Sequence[str],
    dice: Scores,
    metrics: Mapping[str, Sequence[float]],
    without: Sequence[str],
    empty: Mapping[str, str],
    policy: Mapping[str, Any],
    subset: str,
) -> None:
    suffix = "" if subset == "test" else f"_{subset}"
    stated = {"unit": "mm", "nsd_tolerance": 1.0, "region": "scan", "empty": EMPTY_POLICY, **policy}
    rows = []
    for index, (case, of_case) in enumerate(zip(cases, dice, strict=False)):
        values = [of_case] if isinstance(of_case, int | float) else list(of_case)
        mean = sum(values) / len(values)
        for label, value in enumerate(values, 1):
            row: dict[str, Any] = {
                "case": case,
                "class": label,
                **{metric.name: plausible(metric, value) for metric in CLASS_METRICS},
                "unit": stated["unit"],
                "empty": empty.get(case, "none"),
                "volume_ml": round(50 * value, 4),
                "reference_ml": 50.0,
                **{metric.name: plausible(metric, mean) for metric in CASE_METRICS},
            }
            row |= {name: of_metric[index] for name, of_metric in metrics.items()}
            rows.append({name: value for name, value in row.items() if name not in without})
    with (folder / f"cases_{checkpoint}{suffix}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    confidence: list[float | None] = [None if n < 7 else (n + 0.5) / 16 for n in range(16)]
    content = {
        "cases": len(cases),
        "policy": {"evaluate_on": subset, **stated},
        "step": 800 if checkpoint == "best" else 1000,
        "seconds_per_case": 0.25,
        "pooled": {metric.name: rows[0].get(metric.name) for metric in CASE_METRICS},
        "diagram": {
            "count": [0 if value is None else 100 * n for n, value in enumerate(confidence)],
            "confidence": confidence,
            "accuracy": [None if value is None else round(0.9 * value, 6) for value in confidence],
        },
    }
    path = folder / f"reliability_{checkpoint}{suffix}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_training(folder: Path, seed: int) -> None:
    lines = [",".join(PSEUDO_LABEL_COLUMNS)]
    for step in (0, 500, 1000):
        good = 0.6 + step / 5000 + seed / 1000
        lines.append(f"{step},dual_axis,all,1000,{good},{good},0.2,{good + 0.1},0.6,{good},,")
        lines.append(f"{step},dual_axis,1,100,,{good},0.02,{good},0.99,{good - 0.1},0.98,{good - 0.05}")
    (folder / "pseudo_labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    events: list[dict[str, Any]] = []
    for step in range(200, 1001, 200):
        good = 0.6 + step / 5000 + seed / 1000
        events.append(
            {"event": "train", "step": step, "epoch": step // 200, "seconds": step / 2, "loss": 1 - good}
        )
        events.append(
            {"event": "validation", "step": step, "epoch": step // 200, "seconds": step / 2}
            | {f"val_{metric.name}": plausible(metric, good) for metric in METRICS if metric.headline}
        )
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
