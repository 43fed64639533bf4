"""Kill a protocol at random moments, again and again, and compare what it leaves with an undisturbed one.

    python scripts/kill_study.py --dataset-dir PHANTOMS --out OUT --kills 20

Each time the command, its trainings, or both are killed (SIGKILL) some random seconds after their start. The
command is then simply given again. At the end tables, pseudo-label quality, losses and weights must be equal
to those of the same protocol that nobody disturbed. Exit status 0 where they are, 1 where not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("cases_best.csv", "cases_last.csv", "cases_best_validation.csv", "cases_last_validation.csv")


def command(arguments: argparse.Namespace, runs: Path) -> list[str]:
    """The protocol's command line."""
    line = [sys.executable, "-m", "medssl", "protocol", "run", str(arguments.protocol), "--runs", str(runs)]
    line += ["--dataset-dir", str(arguments.dataset_dir), "--only", arguments.only, "--jobs", "1"]
    line += ["--attempts", "1", "--threads", "1"]
    return [*line, *(part for setting in arguments.set for part in ("--set", setting))]


def trainings(runs: Path) -> list[int]:
    """Process ids of what works in these folders, also for a command that is dead (Linux)."""
    pattern = f"monai.bundle.*{runs}"
    done = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.split()]


def disturb(arguments: argparse.Namespace, runs: Path, rng: random.Random) -> str | None:
    """Start the protocol and kill it; what was killed, and when; None where it had finished before."""
    process = subprocess.Popen(command(arguments, runs), cwd=ROOT, stdout=subprocess.DEVNULL)
    seconds, whom = rng.uniform(0, arguments.longest), rng.choice(("command", "training", "both"))
    time.sleep(seconds)
    if process.poll() is not None:
        return None
    at_work = trainings(runs)
    victims = [*([process.pid] if whom != "training" else []), *(at_work if whom != "command" else [])]
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        code = process.wait(5)
    except subprocess.TimeoutExpired:  # it has begun again what was killed
        process.kill()
        code = process.wait()
    return f"{whom} after {seconds:4.1f} s ({len(at_work)} at work, exit status {code})"


def losses(run: Path) -> list[dict[str, object]]:
    """The log without its clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def differences(one: Path, other: Path) -> list[str]:
    """Names of what two runs do not share."""
    found = [name for name in TABLES if (one / name).read_bytes() != (other / name).read_bytes()]
    if (one / "pseudo_labels.csv").exists():
        both = [(run / "pseudo_labels.csv").read_bytes() for run in (one, other)]
        found += ["pseudo_labels.csv"] if both[0] != both[1] else []
    found += ["log.jsonl"] if losses(one) != losses(other) else []
    for name in ("best.pt", "last.pt"):
        a, b = (torch.load(run / name, weights_only=True)["method"] for run in (one, other))
        found += [] if all(torch.equal(a[key], b[key]) for key in a) else [name]
    return found


def main() -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description="kill a protocol at random moments and compare")
    parser.add_argument("--protocol", type=Path, default=ROOT / "scripts/protocols/phantom.yaml")
    parser.add_argument("--dataset-dir", type=Path, required=True, help="folder of medssl phantom")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=25.0, help="seconds until a kill, at most")
    parser.add_argument(
        "--only", default="phantom-tcseg-labeled4-seed1", help="runs, as in medssl protocol run"
    )
    parser.add_argument(
        "--set", action="append", default=["steps_per_epoch=10"], help="as in medssl protocol run"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    disturbed, undisturbed = arguments.out / "disturbed", arguments.out / "undisturbed"
    for number in range(arguments.kills):
        killed = disturb(arguments, disturbed, rng)
        if killed is None:
            print(f"finished before kill {number + 1}: give it more steps, --set max_steps=600, say")
            return 1
        print(f"kill {number + 1:2}: {killed}", flush=True)
    for runs in (disturbed, undisturbed):
        subprocess.run(command(arguments, runs), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    bad = False
    for run in sorted(path.parent for path in undisturbed.glob("*/run.json")):
        found = differences(run, disturbed / run.name)
        print(f"{run.name}: {'differs in ' + ', '.join(found) if found else 'equal'}")
        bad |= bool(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
