"""``medssl protocol report`` on synthetic run folders."""

import csv
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from medssl.cli import main
from medssl.common.errors import InputError
from medssl.metrics.table import METRICS, find_metric
from medssl.protocol.analysis.store import COLUMNS
from medssl.protocol.report.build import make_report
from medssl.protocol.report.figures import FIGURES
from medssl.protocol.report.files import write_report
from medssl.protocol.report.rows import TABLES
from medssl.protocol.report.text_tables import markdown
from tests.protocol.folders import write_run

pytestmark = pytest.mark.slow

SETTINGS = ("supervised", "TCSeg", "TCSeg w/o U(v)")
CASES = (0.71, 0.64, 0.8, 0.77, 0.69, 0.74, 0.6)


def write_study(root, settings=SETTINGS, seeds=range(1, 6), **options):
    for number, setting in enumerate(settings):
        for seed in seeds:
            last = [value + 0.03 * number + 0.01 * ((seed * 7 + i * 3) % 5) for i, value in enumerate(CASES)]
            best = [value + 0.002 * seed for value in last]
            folder = root / f"{number}-{seed}"
            write_run(folder, setting=setting, seed=seed, dice_best=best, dice_last=last, **options)
    return root


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["protocol", "report", str(study), "--out", str(out)]) == 0
    return out


class Page(HTMLParser):
    """Texts of all cells, table by table, and every address that the page names."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.addresses, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.tables[-1][-1][-1] += data


def table_of(text, head):
    """Rows of the first Markdown table whose heading says ``head``."""
    part = text.split(f"{head}", 1)[1]
    rows = [line for line in part.splitlines() if line.startswith("|")]
    size = next((i for i, line in enumerate(part.splitlines()[1:], 1) if line.startswith("**")), None)
    rows = [line for line in part.splitlines()[:size] if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in rows]


def test_every_form_is_there(report):
    names = {path.name for path in report.iterdir()}
    assert names == {
        "index.html", "scores.csv", "summary.csv", "summary_by_class.csv", "comparisons.csv", "ranks.csv",
        "cautions.csv", "runs.csv", "tables.md", "tables.tex", "figures",
    }  # fmt: skip
    figures = {path.name for path in (report / "figures").iterdir()}
    drawn = [figure.name for figure in FIGURES if figure.name != "sensitivity"]
    assert figures == {f"toy-labeled4-{name}.{ending}" for name in drawn for ending in ("png", "svg")}


def test_the_long_table_has_the_columns_of_the_contract(report):
    with (report / "scores.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3 * 5 * 2 * len(CASES) * len({row["metric"] for row in rows})


def test_numbers_of_the_tables_are_those_of_the_summary(report):
    summary = pd.read_csv(report / "summary.csv").set_index(["method", "checkpoint", "metric"])
    markdown = (report / "tables.md").read_text(encoding="utf-8")
    rows = table_of(markdown, "overlap and distance of the last checkpoint")
    latex = (report / "tables.tex").read_text(encoding="utf-8")
    for setting in SETTINGS:
        (row,) = [row for row in rows if row[0] == setting]
        dice, distance = summary.loc[(setting, "last", "dice")], summary.loc[(setting, "last", "hausdorff95")]
        cells = [cell.strip("*") for cell in row[1:]]
        assert cells[0] == f"{100 * dice['median']:.2f} / {100 * dice['maximum']:.2f}"
        assert cells[2] == f"{distance['median']:.2f} / {distance['minimum']:.2f}"
        assert cells[0] in latex
    assert [row[1].count("*") for row in rows[2:]] == [0, 2, 4]  # worst, second, best


def test_the_page_holds_the_tables_and_nothing_from_elsewhere(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.addresses) == len(FIGURES) - 1
    assert "prefers-color-scheme" in text
    words = {
        row[0]: row[1] for row in next(table for table in page.tables if table[0] == ["word", "meaning"])
    }
    for metric in METRICS:
        assert (metric.title in words) == metric.headline
        assert not metric.headline or metric.definition in words[metric.title]
    flat = [cell for table in page.tables for row in table for cell in row]
    for row in table_of(
        (report / "tables.md").read_text(encoding="utf-8"), "overlap and distance of the last"
    )[2:]:
        assert row[1].strip("*") in flat
    assert "Nothing found that a reader must be warned of." in text


def test_nothing_is_overwritten_unasked_and_the_same_runs_give_the_same_bytes(study, report, capsys):
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    assert main(["protocol", "report", str(study), "--out", str(report)]) == 2
    assert "exists already; add --overwrite" in capsys.readouterr().err
    (report / "notes.txt").write_text("mine")
    assert main(["protocol", "report", str(study), "--out", str(report), "--overwrite"]) == 0
    assert (report / "notes.txt").read_text() == "mine"
    (report / "notes.txt").unlink()
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == before


def test_oracles_and_few_seeds_are_marked_wherever_they_stand(tmp_path, capsys):
    write_study(tmp_path / "runs", seeds=(1, 2), selection="test-oracle")
    assert main(["protocol", "report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert output.count("best (oracle)") == 3
    assert "oracle selection: best was chosen on the test cases" in output
    markdown = (tmp_path / "out/tables.md").read_text(encoding="utf-8")
    best = [row[0] for row in table_of(markdown, "overlap and distance of the best checkpoint")[2:]]
    last = [row[0] for row in table_of(markdown, "overlap and distance of the last checkpoint")[2:]]
    assert all(name.endswith("(2 runs, oracle)") for name in best)
    assert all(name.endswith("(2 runs)") for name in last)
    tables = Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).tables
    kinds = [row[2] for row in tables[0][1:]]
    assert kinds == pd.read_csv(tmp_path / "out/cautions.csv")["kind"].tolist()
    marked = [
        cell for table in tables for row in table for cell in row if "oracle" in cell and "TCSeg" in cell
    ]
    assert len(marked) >= 2 * 3  # in both tables of best, and in detail


def test_names_cannot_break_a_format(tmp_path):
    name = r"100% <of_it> & | $x$ \ more"
    write_study(tmp_path / "runs", settings=(name, "other"))
    write_report(make_report([tmp_path / "runs"], baseline=name), tmp_path / "out")
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "<of_it>" not in page
    assert any(name in cell for table in Page(page).tables for row in table for cell in row)
    latex = (tmp_path / "out/tables.tex").read_text(encoding="utf-8")
    assert r"100\% \textless{}of\_it\textgreater{} \& \textbar{} \$x\$ \textbackslash{} more" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == latex.count(r"\toprule") == 4
    for part in latex.split(r"\toprule")[1:]:
        lines = [line for line in part.splitlines() if line.endswith(r"\\")]
        assert len({len(re.split(r"(?<!\\)&", line)) for line in lines}) == 1, lines
    rows = table_of((tmp_path / "out/tables.md").read_text(encoding="utf-8"), "overlap")
    assert len({len(row) for row in rows}) == 1


@pytest.fixture(scope="module")
def left_atria(tmp_path_factory):
    root = tmp_path_factory.mktemp("la")
    return write_study(root, dataset="la", labeled=8, cases=[f"case-{i}" for i in range(len(CASES))])


def test_published_rows_stand_apart(left_atria):
    report = make_report([left_atria], resamples=20)
    rows = report.places[0].tables["last", "overlap and distance"]
    published = [row for row in rows if row.published]
    assert [row.published for row in rows] == sorted(row.published for row in rows)
    assert any(row.name == "TCSeg" and row.cells["dice"] == "90.28 / 90.39" for row in published)
    assert not any(row.marks for row in published)
    # Published distances are in voxels and own ones in mm: they do not share a column.
    assert not any("hausdorff95" in row.cells for row in published)
    text = markdown(rows, [find_metric("dice")], "mm", caption="c")
    assert "| published: TCSeg (TCSeg paper, Table 1, Table 6; VNet-style; median / maximum) [1, 2] |" in text
    assert "\n[1] inconsistent with Figure 5\n" in text


def test_published_figures_of_no_stated_checkpoint_have_a_table_of_their_own(left_atria, tmp_path):
    out = tmp_path / "out"
    write_report(make_report([left_atria], resamples=20), out)
    text = (out / "tables.md").read_text(encoding="utf-8")
    names = {
        head: [row[0] for row in table_of(text, head)[2:]]
        for head in ("of the last checkpoint", "of the best checkpoint", "published without saying")
    }
    unstated = names.pop("published without saying")
    assert all(name.startswith("published: ") for name in unstated)
    assert any(name.startswith("published: CRDS (") for name in unstated)
    assert not any("from memory" in name for name in unstated)
    for stated in names.values():
        assert not {name.split(" (")[0] for name in unstated} & {name.split(" (")[0] for name in stated}
    assert "checkpoint and statistic not printed" in text
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    flat = [row[0] for table in page.tables for row in table]
    assert [name for name in flat if name in unstated] == unstated
    assert "published without saying of which checkpoint" in (out / "tables.tex").read_text(encoding="utf-8")


def test_remembered_figures_are_shown_when_asked_for(left_atria, tmp_path):
    out = tmp_path / "out"
    assert main(["protocol", "report", str(left_atria), "--out", str(out), "--remembered"]) == 0
    for name in ("index.html", "tables.md", "tables.tex"):
        text = (out / name).read_text(encoding="utf-8")
        assert "(from memory; statistic not stated)" in text
        assert text.index("published without saying") < text.index("(from memory")


def test_one_run_alone_is_a_report(tmp_path):
    write_run(tmp_path / "runs/a", selection="none", dice_best=None, dice_last=[0.5])
    report = make_report([tmp_path / "runs"])
    assert "cases" not in report.places[0].figures
    assert {checkpoint for checkpoint, _ in report.places[0].tables} == {"last"}
    write_report(report, tmp_path / "out")


OLD = ("ece", "nsd")


@pytest.fixture
def old_and_new(tmp_path):
    """Five runs that were scored before some metrics existed, and five that have all."""
    write_study(tmp_path / "runs/old", settings=("supervised",), without=OLD)
    write_study(tmp_path / "runs/new", settings=("TCSeg",))
    return tmp_path / "runs"


@pytest.mark.parametrize("metric", ["dice", *OLD])
def test_runs_scored_before_a_metric_existed_are_rows_with_a_gap_and_a_caution(old_and_new, metric, capsys):
    out = old_and_new.parent / "out"
    assert main(["protocol", "report", str(old_and_new), "--out", str(out), "--metric", metric]) == 0
    output = capsys.readouterr().out
    for name in OLD:
        assert (
            f"toy, 4, supervised: missing metric: scored before {name} was measured, in seed 1, 2" in output
        )
    rows = table_of((out / "tables.md").read_text(encoding="utf-8"), "reliability of the last checkpoint")
    column = rows[0].index("ECE")
    cells = {row[0]: row[column] for row in rows[2:]}
    assert cells["supervised"] == "\N{EN DASH}"
    assert re.fullmatch(r"0\.\d{4} / 0\.\d{4}", cells["TCSeg"])
    others = {row[0]: row[1:column] + row[column + 1 :] for row in rows[2:]}
    assert not any("\N{EN DASH}" in row for row in others.values())
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    assert ["toy, 4", "supervised", "missing metric"] in [row[:3] for row in page.tables[0]]


def test_a_metric_that_some_runs_of_a_setting_lack_has_no_median(tmp_path):
    write_study(tmp_path / "runs", settings=("supervised",), seeds=(1,), without=OLD)
    write_study(tmp_path / "more", settings=("supervised",), seeds=(2, 3))
    report = make_report([tmp_path / "runs", tmp_path / "more"], resamples=20)
    (row,) = report.places[0].tables["last", "reliability"]
    assert {metric.name for metric in TABLES["reliability"]} - set(row.cells) == {"ece"}
    assert row.remark == "3 runs"


def test_a_metric_that_no_run_has_is_one_line(tmp_path, capsys):
    write_study(tmp_path / "runs", settings=("supervised",), without=OLD)
    options = ["--out", str(tmp_path / "out"), "--metric", OLD[0]]
    assert main(["protocol", "report", str(tmp_path / "runs"), *options]) == 2
    assert f"metric {OLD[0]!r}: is in the scores of no run; score the runs again" in capsys.readouterr().err


def test_validation_scores_are_another_report(study):
    reports = [make_report([study], subset=subset, resamples=20) for subset in ("test", "validation")]
    tested, validated = (report.frames["summary"]["median"] for report in reports)
    assert not tested.equals(validated)


def test_a_sweep_gets_a_radar(tmp_path):
    write_study(tmp_path / "runs", settings=[f"TCSeg tau={value}" for value in (0.01, 0.05, 0.1)])
    assert "sensitivity" in make_report([tmp_path / "runs"]).places[0].figures


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metric", "dise"], "did you mean 'dice'"),
        (["--baseline", "superwised"], "did you mean 'supervised'"),
    ],
)
def test_bad_options_are_one_line(study, tmp_path, more, message, capsys):
    assert main(["protocol", "report", str(study), "--out", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_that_must_not_be_mixed_are_refused(tmp_path, capsys):
    write_run(tmp_path / "runs/a", setting="a", record={"test_fingerprint": "a" * 64})
    write_run(tmp_path / "runs/b", setting="b", record={"test_fingerprint": "b" * 64})
    assert main(["protocol", "report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    assert "differs from" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(study, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        write_report(make_report([study], resamples=50), tmp_path / "file")
