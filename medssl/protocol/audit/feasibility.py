"""Can published statistics belong to any set of numbers at all?

Median, extremes, mean and standard deviation of the same n values bind one another. A table that breaks these
bounds holds a misprint, or statistics of different runs.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import combinations
from pathlib import Path

from medssl.common.errors import InputError

STATISTICS = ("n", "minimum", "median", "maximum", "mean", "std")
_ALIASES = {"min": "minimum", "max": "maximum", "sd": "std"}
_REMARKS = ("source", "note", "unit")


@dataclass(frozen=True)
class Printed:
    """A number as it is printed, which stands for all that round to it.

    Attributes:
        text: the digits.
        low: smallest number that they can stand for.
        high: largest.
    """

    text: str
    low: Decimal
    high: Decimal


@dataclass(frozen=True)
class Reported:
    """The statistics of one setting.

    Attributes:
        name: the setting, from all columns that are no statistic.
        n: number of values; None where the table does not say.
        values: statistics by name, those of :data:`STATISTICS` but ``n``.
    """

    name: str
    n: int | None
    values: Mapping[str, Printed]


@dataclass(frozen=True)
class Finding:
    """A bound that a setting breaks.

    Attributes:
        name: the setting.
        text: the statistics that cannot belong together, and why.
    """

    name: str
    text: str


def read_statistics(path: str | Path) -> list[Reported]:
    """Read a table of published statistics.

    Two forms, both CSV in UTF-8 with a header. Wide: one row a setting, with some of the columns n, minimum
    (or min), median, maximum (or max), mean and std (or sd). Long: one row a statistic, with the columns
    ``statistic`` and ``value`` and, where it is known, ``n``; statistics of other names are passed over. All
    other columns name the setting, but for ``source``, ``note`` and ``unit``, which are passed over. Any
    value may be empty. Numbers are read with their printed digits: 0.1 stands for 0.05 to 0.15, 0.10 for
    0.095 to 0.105. ``std`` may divide by n or by n - 1.

    Raises:
        InputError: no such file, no table, no statistic, or a value that is no number.
    """
    path = Path(path)
    settings: dict[str, dict[str, Printed]] = {}
    numbers: dict[str, int] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        words = [text for column, text in row.items() if text and column not in (*STATISTICS, *_REMARKS)]
        name = " ".join(words) or f"line {line}"
        values = settings.setdefault(name, {})
        for statistic in STATISTICS:
            text = row.get(statistic)
            if not text:
                continue
            if statistic == "n":
                if numbers.setdefault(name, _count(text, where)) != _count(text, where):
                    raise InputError(where, f"gives {name!r} another n", "correct the table")
            elif statistic in values:
                raise InputError(where, f"gives {statistic} of {name!r} again", "correct the table")
            else:
                values[statistic] = _printed(text, where, statistic)
    if not settings:
        raise InputError(path, "holds no row", "give a table of published statistics")
    return [Reported(name, numbers.get(name), values) for name, values in settings.items()]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of every row, by the columns of the wide form."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or [])
    except FileNotFoundError as error:
        raise InputError(path, "no such file", "give a CSV file") from error
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, "cannot be read as CSV in UTF-8", "save it anew") from error
    titles = {column: _statistic(column) for column in header}
    columns = set(titles.values())
    if len(columns) < len(header):
        raise InputError(path, "gives a column twice", "leave one of them out")
    is_long = {"statistic", "value"} <= columns
    if not is_long and len(columns & set(STATISTICS[1:])) < 2:
        fault = "has neither the columns statistic and value nor two of " + ", ".join(STATISTICS[1:])
        raise InputError(path, fault, "see medssl protocol audit --help")
    for number, line in lines:
        if None in line or None in line.values():
            fault = "does not have as many fields as the header"
            raise InputError(f"{path}, line {number}", fault, "correct the line")
        row = {titles[column]: text.strip() for column, text in line.items()}
        if is_long:
            statistic, value = _statistic(row.pop("statistic")), row.pop("value")
            # Others, such as an inter-quartile mean, are no part of the name either.
            row |= {statistic: value} if statistic in STATISTICS else {}
        yield number, row


def _statistic(title: str) -> str:
    title = title.strip().lower()
    return _ALIASES.get(title, title)


def audit(settings: Sequence[Reported]) -> list[Finding]:
    """Everything that no set of values can have, rounding of the printed digits granted.

    With s the standard deviation over n values (whichever divisor is the more lenient):

    - minimum <= median, mean <= maximum, and s >= 0;
    - ``|mean - median| <= s`` (Hotelling and Solomons 1932);
    - ``maximum - mean <= s sqrt(n - 1)`` and ``mean - minimum`` likewise (Samuelson 1968);
    - ``s sqrt((n - 1) / n) <= (maximum - minimum) / 2`` (Popoviciu 1935);
    - ``maximum - minimum <= s sqrt(2 n)``: two values r apart alone make ``s^2 >= r^2 / (2 n)``.

    What needs a statistic that a row lacks is not checked.
    """
    return [Finding(setting.name, text) for setting in settings for text in _faults(setting)]


def audit_text(settings: Sequence[Reported], findings: Sequence[Finding]) -> str:
    """The findings, one a line, and how many settings they are of."""
    lines = []
    if findings:
        width = max(len("setting"), *(len(finding.name) for finding in findings))
        lines = [f"{'setting':<{width}}  finding"]
        lines += [f"{finding.name:<{width}}  {finding.text}" for finding in findings]
    faulty = len({finding.name for finding in findings})
    unchecked = sum(not checkable(setting) for setting in settings)
    rest = f"; {unchecked} hold too few statistics to be checked" if unchecked else ""
    return "\n".join([*lines, f"{faulty} of {len(settings)} settings cannot be as printed{rest}"])


def checkable(setting: Reported) -> bool:
    """Whether a row holds two statistics that bind one another."""
    return len(setting.values) > 1


def _faults(setting: Reported) -> Iterator[str]:
    values, n = setting.values, setting.n
    place = {"minimum": 0, "median": 1, "mean": 1, "maximum": 2}
    for a, b in combinations([name for name in place if name in values], 2):
        # Rounding keeps an order: of two numbers with as many decimals, the printed ones must have it too.
        if place[a] < place[b] and values[a].low >= values[b].high:
            yield f"{a} {values[a].text} is above {b} {values[b].text}"
    if "std" not in values:
        return
    std = values["std"]
    if std.high < 0:
        yield f"std {std.text} is negative"
        return
    yield from _beyond(values, "mean", "median", std.high, f"the standard deviation {std.text}")
    if n is None:
        return
    among = f"{n} values with std {std.text} can be, rounding granted: "
    reach = std.high * Decimal(n - 1).sqrt()
    for end in ("maximum", "minimum"):
        yield from _beyond(values, end, "mean", reach, f"{among}{reach:.4g}")
    if "minimum" in values and "maximum" in values:
        reach = std.high * Decimal(2 * n).sqrt()
        yield from _beyond(values, "maximum", "minimum", reach, f"{among}{reach:.4g}")
        widest = values["maximum"].high - values["minimum"].low
        limit = widest / 2 * (Decimal(n) / (n - 1)).sqrt() if n > 1 else Decimal(0)
        if std.low > limit:
            between = f"{n} values from {values['minimum'].text} to {values['maximum'].text}"
            yield f"std {std.text} is more than {between} can have, rounding granted: {limit:.4g}"


def _beyond(values: Mapping[str, Printed], a: str, b: str, limit: Decimal, title: str) -> Iterator[str]:
    """Whether two statistics lie further apart than a limit, however they were rounded."""
    if a not in values or b not in values:
        return
    first, second = values[a], values[b]
    gap = max(first.low - second.high, second.low - first.high)
    if gap > limit:
        apart = abs(Decimal(first.text) - Decimal(second.text))
        yield f"{a} {first.text} and {b} {second.text} are {apart} apart, more than {title}"


def _printed(text: str, where: str, statistic: str) -> Printed:
    number = _decimal(text, where, statistic)
    exponent = number.as_tuple().exponent
    half = Decimal(5).scaleb(int(exponent) - 1)
    return Printed(text, number - half, number + half)


def _count(text: str, where: str) -> int:
    number = _decimal(text, where, "n")
    if number != int(number) or number < 1:
        raise InputError(where, f"n is {text!r}", "give the number of values, a whole number from 1")
    return int(number)


def _decimal(text: str, where: str, statistic: str) -> Decimal:
    parse: Callable[[str], Decimal] = Decimal
    try:
        number = parse(text)
    except InvalidOperation as error:
        raise InputError(where, f"{statistic} is {text!r}", "give a number, or leave it empty") from error
    if not number.is_finite():
        raise InputError(where, f"{statistic} is {text!r}", "give a number, or leave it empty")
    return number
