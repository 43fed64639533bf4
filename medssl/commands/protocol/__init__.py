"""``medssl protocol``: many runs, one honest table."""

from typing import Any

from medssl.commands.protocol.audit import add_audit
from medssl.commands.protocol.report import add_report
from medssl.commands.protocol.run import add_run


def add_protocol(commands: Any) -> None:
    """``medssl protocol`` with its sub-commands."""
    parser = commands.add_parser("protocol", help="many runs as one honest table")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add in (add_run, add_report, add_audit):
        add(actions)
