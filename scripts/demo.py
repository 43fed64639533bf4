"""The main job on generated scans, in a few minutes on two cores (``make demo``).

Makes phantoms, trains the supervised lower bound and TCSeg on the same four labelled ones side by side (same
seed, steps and augmentation), scores best and last checkpoints on held-out cases, writes the predictions of
two cases, and prints a table. What is there already is kept: a demo that was cut short goes on.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("supervised", "tcseg_short")
MEDSSL = (sys.executable, "-m", "medssl")


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command on one core, its output going to a file."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("ab") as output:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)


def finish(started: dict[str, tuple[subprocess.Popen[bytes], Path]]) -> None:
    """Wait for commands; a failed one ends the demo with the end of its log."""
    for name, (process, log) in started.items():
        if process.wait():
            for other, _ in started.values():
                other.kill()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            sys.exit(f"error: {name} failed; the end of {log}:\n{tail}")


def status(run: Path) -> str | None:
    """What a run's record says of how it went; None where there is none."""
    record = run / "run.json"
    return str(json.loads(record.read_text())["status"]) if record.is_file() else None


def dice(table: Path) -> list[float]:
    """Dice of every case in a ``cases_*.csv``."""
    with table.open(newline="") as rows:
        return [float(row["dice"]) for row in csv.DictReader(rows)]


def report(out: Path) -> None:
    """The table."""
    print(f"\n{'':12}{'best: median':>14}{'mean':>8}{'last: median':>16}{'mean':>8}   Dice on the test cases")
    for method in METHODS:
        cells = [dice(out / method / f"cases_{checkpoint}.csv") for checkpoint in ("best", "last")]
        numbers = [f(c) for c in cells for f in (statistics.median, statistics.fmean)]
        print(f"{method:12}{numbers[0]:14.3f}{numbers[1]:8.3f}{numbers[2]:16.3f}{numbers[3]:8.3f}")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="train, score and predict on generated scans")
    parser.add_argument("--out", type=Path, default=ROOT / "demo", help="folder of the demo")
    parser.add_argument("--steps", type=int, default=400, help="training steps (a multiple of 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the trainings")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    phantoms = out / "phantoms"
    make = ("phantom", str(phantoms), "--cases", "32", "--seed", "1", "--jobs", "2")
    subprocess.run([*MEDSSL, *make], cwd=ROOT, check=True)

    settings = ["--dataset_dir", str(phantoms), "--seed", str(arguments.seed)]
    settings += ["--max_steps", str(arguments.steps), "--cache_workers", "1", "--resume"]
    print(f"training {' and '.join(METHODS)} for {arguments.steps} steps, one core each; logs in {out}")
    started = {}
    for method in METHODS:
        if status(out / method) != "finished":
            log = out / f"{method}.log"
            command = [*MEDSSL, "train", "phantom", method, "--run-dir", str(out / method), *settings]
            started[f"training {method}"] = start(command, log), log
    finish(started)

    started = {}
    for method in METHODS:
        log = out / f"{method}.log"
        command = [*MEDSSL, "evaluate", str(out / method), "--overwrite"]
        started[f"scoring {method}"] = start(command, log), log
    log = out / "predictions.log"
    command = [*MEDSSL, "predict", str(out / METHODS[-1]), str(phantoms), str(out / "predictions")]
    command += ["--cases", "phantom_030", "phantom_031", "--overwrite"]
    started["prediction"] = start(command, log), log
    finish(started)

    report(out)
    print(f"\nscans and references  {phantoms}")
    for method in METHODS:
        print(
            f"{method:22}{out / method}  (best.pt, last.pt, run.json, cases_*.csv, log.jsonl, tensorboard/)"
        )
    print(f"predictions of two    {out / 'predictions'}  (*_seg, *_confidence, *_uncertainty .nii.gz)")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
