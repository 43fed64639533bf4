"""Tables of a report, as Markdown and LaTeX: median and best run, best and second marked."""

from collections.abc import Sequence

from medssl.metrics.table import Metric
from medssl.protocol.report.rows import Row, footnotes, reference

EN_DASH = "\N{EN DASH}"


def markdown(rows: Sequence[Row], metrics: Sequence[Metric], unit: str, *, caption: str) -> str:
    """A table; best bold, second in italics, published rows marked."""
    lines = [f"**{_markdown_text(caption)}**", ""]
    lines.append("| setting | " + " | ".join(_markdown_text(m.heading(unit)) for m in metrics) + " |")
    lines.append("| --- |" + " ---: |" * len(metrics))
    numbers = footnotes(rows)
    for row in rows:
        remark = f" ({_markdown_text(row.remark)})" if row.remark else ""
        name = f"published: {_markdown_text(row.name)}" if row.published else _markdown_text(row.name)
        frames = {"best": "**", "second": "*"}
        cells = []
        for metric in metrics:
            frame = frames.get(row.marks.get(metric.name, ""), "")
            cells.append(f"{frame}{row.cells.get(metric.name, EN_DASH)}{frame}")
        lines.append(f"| {name}{remark}{reference(row, numbers)} | " + " | ".join(cells) + " |")
    for note, index in numbers.items():
        lines += ["", f"[{index}] {_markdown_text(note)}"]
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Row], metrics: Sequence[Metric], unit: str, *, caption: str) -> str:
    """A table with booktabs' rules; best bold, second underlined, published rows below another rule."""
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_text(caption)}}}"]
    lines += [r"\begin{tabular}{l" + "r" * len(metrics) + "}", r"\toprule"]
    lines.append(" & ".join(["Setting", *(latex_text(m.heading(unit)) for m in metrics)]) + r" \\")
    lines.append(r"\midrule")
    frames = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
    numbers = footnotes(rows)
    ruled = False
    for row in rows:
        if row.published and not ruled:
            lines.append(r"\midrule")
            ruled = True
        remark = rf" \emph{{({latex_text(row.remark)})}}" if row.remark else ""
        name = latex_text(("published: " if row.published else "") + row.name)
        cells = [
            frames[row.marks.get(m.name, "")] % latex_text(row.cells.get(m.name, EN_DASH)) for m in metrics
        ]
        lines.append(" & ".join([name + remark + reference(row, numbers), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize [{index}] {latex_text(note)}" for note, index in numbers.items()]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text with everything that LaTeX would take for a command made harmless."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    table |= {character: f"\\{character}" for character in "&%$#_{}"}
    table |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\N{EN DASH}": "--"}
    return "".join(table.get(character, character) for character in text)


def _markdown_text(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\|*_`<" else character for character in text)
