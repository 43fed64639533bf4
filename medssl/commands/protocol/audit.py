"""``medssl protocol audit``: can the statistics of a published table be true together?"""

import argparse
from typing import Any

_FORMAT = """\
TABLE.csv is UTF-8 with a header, wide or long.
wide: one row a setting, with some of n, minimum, median, maximum, mean, std (also min, max, sd)
long: one row a statistic, with statistic, value and, where known, n
All other columns name the setting, but for source, note and unit. Any value may be empty. std may divide
by n or n - 1. Digits are read as printed, so that nothing is accused through rounding.
Exit status: 0 consistent, 1 findings, 2 a file that cannot be used."""


def add_audit(actions: Any) -> None:
    """``medssl protocol audit``."""
    parser = actions.add_parser(
        "audit",
        help="check a table of published statistics for contradictions",
        description="Check a table of published statistics for contradictions.",
        epilog=_FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", metavar="TABLE.csv", help="the table")
    parser.set_defaults(run=_audit)


def _audit(arguments: argparse.Namespace) -> int:
    from medssl.protocol.audit.feasibility import audit, audit_text, read_statistics

    settings = read_statistics(arguments.table)
    findings = audit(settings)
    print(audit_text(settings, findings))
    return int(bool(findings))
