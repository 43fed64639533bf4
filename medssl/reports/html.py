"""HTML that the reports share: a page that is one file, its style, and tables that can be sorted."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #f6f7f9; --card: #fff; --line: #d5d9df;
  --head: #eef1f4; --hover: #f2f8fc; --warn: #7a3b00; --warnback: #fff2df; --soft: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #14171b; --card: #1c2026;
  --line: #363c45; --head: #262b33; --hover: #232a33; --warn: #ffcf99; --warnback: #3a2a14;
  --soft: #a0a8b4; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1280px; padding: 1.2rem;
  color: var(--text); background: var(--back); }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { margin: .3rem 0; max-width: 62rem; }
.scroll { overflow-x: auto; margin: .4rem 0 1rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { background: var(--head); font-weight: 600; } tr:last-child td { border-bottom: 0; }
th.text, td.text { text-align: left; } td.wrap { white-space: normal; min-width: 24rem; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
tr:hover td { background: var(--hover); }
tr.published td { color: var(--soft); font-style: italic; }
.best { font-weight: 700; } .second { text-decoration: underline; text-underline-offset: 3px; }
.mark { background: var(--warnback); color: var(--warn); border-radius: 3px; padding: 0 .35rem;
  margin-left: .4rem; font-size: .82rem; }
.soft { color: var(--soft); } figure { margin: 1rem 0 1.6rem; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { color: var(--soft); max-width: 62rem; margin-top: .3rem; }
summary { cursor: pointer; margin: .6rem 0; }
.matrix td { text-align: center; line-height: 1.25; } .matrix small { color: var(--soft); }
.matrix td.text { text-align: left; white-space: normal; }
.matrix th { white-space: normal; text-align: center; }
"""

SORTING = """
document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const down = head.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
  const rows = [...body.rows].sort((a, b) => {
    const x = key(a), y = key(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    const difference = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return down ? -difference : difference;
  });
  body.append(...rows);
}));
"""
"""Lets the button in a heading sort its table, by ``data-value`` of the cells where they have one."""


def page(title: str, body: str, *, style: str = STYLE) -> str:
    """A whole document, which needs no other file and whose tables can be sorted.

    Args:
        title: plain text.
        body: HTML.
        style: CSS.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{style}</style></head><body>
{body}
<script>{SORTING}</script></body></html>
"""


def table(
    heads: Sequence[str], lines: Sequence[str], *, text: int = 1, kind: str = "", sortable: bool = True
) -> str:
    """A table.

    Args:
        heads: plain text.
        lines: ``<tr>`` elements.
        text: so many columns, from the first on, are aligned to the left.
        kind: class of the element.
        sortable: whether its headings sort it.
    """
    cells = []
    for index, head in enumerate(heads):
        words = f"<button>{escape(head)}</button>" if sortable else escape(head)
        cells.append(f"<th{' class=text' if index < text else ''}>{words}</th>")
    body = "\n".join(lines)
    name = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll"><table{name}><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def text_cell(text: str, *, wrap: bool = False) -> str:
    """A cell of plain text, aligned to the left; ``wrap`` lets it take several lines."""
    return f'<td class="text{" wrap" if wrap else ""}">{escape(text)}</td>'
