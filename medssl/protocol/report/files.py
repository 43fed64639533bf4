"""A report as files: CSV, Markdown, LaTeX, pictures and a page."""

from pathlib import Path

from medssl.common.errors import InputError
from medssl.common.files import atomic_path, write_text
from medssl.protocol.analysis.pooled_runs import SUMS
from medssl.protocol.report.contents import Report
from medssl.protocol.report.text_tables import latex, markdown
from medssl.protocol.report.web_page import write_page
from medssl.reports.figure_style import save

PAGE = "index.html"


def write_report(report: Report, out: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write CSV files, ``tables.md``, ``tables.tex``, ``figures/*.png`` and ``*.svg``, and ``index.html``.

    The same runs give the same bytes. Nothing else in the folder is touched.

    Raises:
        InputError: the folder holds a report already and ``overwrite`` was not asked for, or is a file.

    Returns:
        The files, the page first.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(out, "not a folder", "choose another one")
    if (out / PAGE).exists() and not overwrite:
        raise InputError(out / PAGE, "exists already", "add --overwrite, or choose another folder")
    written = []
    for name, frame in report.frames.items():
        written.append(out / f"{name}.csv")
        with atomic_path(written[-1]) as temporary:
            plain = frame.drop(columns=SUMS, errors="ignore")
            plain.to_csv(temporary, index=False, lineterminator="\n")
    for name, form in (("tables.md", markdown), ("tables.tex", latex)):
        parts = [
            form(rows, place.columns[table], place.unit, caption=place.caption(checkpoint, table))
            for place in report.places
            for (checkpoint, table), rows in place.tables.items()
        ]
        write_text(out / name, "\n".join(parts))
        written.append(out / name)
    for place in report.places:
        for name, (figure, _) in place.figures.items():
            written += save(figure, out / "figures" / f"{place.stem}-{name}")
    write_page(report, out / PAGE)
    return [out / PAGE, *written]
