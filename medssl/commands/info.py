"""``medssl info``: what a bug report needs."""

import argparse
import json
from typing import Any


def add_info(commands: Any) -> None:
    """``medssl info``."""
    parser = commands.add_parser("info", help="versions, devices and cores: what a bug report needs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_info)


def _info(arguments: argparse.Namespace) -> int:
    from medssl.common.environment import describe

    facts = describe()
    width = max(map(len, facts))
    lines = (f"{name:<{width}}  {value}" for name, value in facts.items())
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(lines))
    return 0
