"""``medssl review``: is the order of the worklist any good, and what reviewers corrected."""

import argparse
import json
from dataclasses import asdict
from typing import Any


def add_review(commands: Any) -> None:
    """``medssl review evaluate`` and ``medssl review collect``."""
    parser = commands.add_parser("review", help="judge a worklist, or take corrections back into training")
    inner = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    evaluate = inner.add_parser("evaluate", help="compare a review folder with references")
    evaluate.add_argument("review", help="folder of medssl predict")
    evaluate.add_argument("--labels", required=True, help="folder with <case>.nii.gz, of images <case>.png")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.set_defaults(run=_evaluate)
    collect = inner.add_parser("collect", help="write a datalist in which corrected cases are labelled")
    collect.add_argument("review", help="folder of medssl predict")
    collect.add_argument(
        "--corrected", required=True, help="folder with <case>_seg.nii.gz, of images <case>_seg.png"
    )
    collect.add_argument("--datalist", required=True, help="the datalist that was predicted")
    collect.add_argument("--out", required=True, help="the new datalist; nothing is overwritten")
    collect.set_defaults(run=_collect)


def _evaluate(arguments: argparse.Namespace) -> int:
    from medssl.review.triage import evaluate_review

    triage = evaluate_review(arguments.review, arguments.labels)
    print(json.dumps(asdict(triage)) if arguments.json else triage)
    return 0


def _collect(arguments: argparse.Namespace) -> int:
    from medssl.review.corrections import collect_corrections

    labeled, stay = collect_corrections(
        arguments.review, corrected=arguments.corrected, datalist=arguments.datalist, out=arguments.out
    )
    print(f"{len(labeled)} corrected cases are labelled in {arguments.out}")
    if stay:
        print(
            f"{len(stay)} stay where they are, since they are not in the unlabelled list: {', '.join(stay)}"
        )
    return 0
