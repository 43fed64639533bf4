from pathlib import Path

import numpy as np
import pytest

import medssl.protocol.analysis
from medssl.cli import main
from medssl.common.errors import InputError
from medssl.protocol.audit.feasibility import audit, read_statistics
from tests.places import ROOT

TABLES = Path(medssl.protocol.analysis.__file__).parent / "published_tables"


def findings(folder, text):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return audit(read_statistics(path))


def test_the_tcseg_papers_tables_contradict_each_other_in_three_settings(capsys):
    assert main(["protocol", "audit", str(TABLES / "tcseg_figure5.csv")]) == 1
    text = capsys.readouterr().out
    assert text.isascii()
    lines = text.splitlines()
    assert {line[:25].strip() for line in lines[1:-1]} == {
        "LA 10% last dice",
        "LA 20% last dice",
        "Pancreas-CT 20% last dice",
    }
    assert lines[-1] == "3 of 4 settings cannot be as printed"
    assert "mean 89.86 and median 90.28 are 0.42 apart, more than the standard deviation 0.12" in text
    assert "maximum 91.36 and mean 90.90 are 0.46 apart" in text
    assert "maximum 84.14 and mean 83.31 are 0.83 apart" in text
    guide = ROOT / "docs" / "statistics.md"
    assert f"```\n{text}```" in guide.read_text(encoding="utf-8")


def test_a_consistent_table_passes_and_a_bad_file_does_not(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("setting,n,mean,std,max,min,median\na,5,0.5,0.1,0.6,0.4,0.5\nb,5,0.5,,,,\n", "utf-8")
    assert main(["protocol", "audit", str(path)]) == 0
    expected = "0 of 2 settings cannot be as printed; 1 hold too few statistics to be checked\n"
    assert capsys.readouterr().out == expected
    assert main(["protocol", "audit", str(tmp_path / "none.csv")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_true_statistics_are_never_accused(tmp_path, n, ddof, decimals):
    random = np.random.default_rng(n)
    lines = ["setting,n,median,maximum,minimum,mean,std"]
    for number in range(100):
        values = random.choice([0.0, 80.0, 80.1, 90.5, 100.0], n) + random.normal(0, 10.0 ** -(number % 4), n)
        std = values.std(ddof=ddof) if n > ddof else 0.0
        numbers = (np.median(values), values.max(), values.min(), values.mean(), std)
        lines.append(f"s{number},{n}," + ",".join(f"{value:.{decimals}f}" for value in numbers))
    assert findings(tmp_path, "\n".join(lines)) == []


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (",0.6,0.5,,,", "median 0.6 is above maximum 0.5"),
        (",0.4,,0.5,,", "minimum 0.5 is above median 0.4"),
        (",,0.4,0.5,,", "minimum 0.5 is above maximum 0.4"),
        (",,0.5,,0.7,", "mean 0.7 is above maximum 0.5"),
        (",,,0.5,0.3,", "minimum 0.5 is above mean 0.3"),
        (",,,,0.5,-0.2", "std -0.2 is negative"),
        (",0.50,,,0.70,0.10", "mean 0.70 and median 0.50 are 0.20 apart"),
        ("5,,0.90,,0.50,0.10", "maximum 0.90 and mean 0.50 are 0.40 apart, more than 5 values"),
        ("5,,,0.10,0.50,0.10", "minimum 0.10 and mean 0.50 are 0.40 apart"),
        ("5,,0.90,0.10,,0.20", "maximum 0.90 and minimum 0.10 are 0.80 apart"),
        ("5,,0.90,0.80,,0.20", "std 0.20 is more than 5 values from 0.80 to 0.90 can have"),
    ],
)
def test_every_bound(tmp_path, row, text):
    violations = findings(tmp_path, f"setting,n,median,maximum,minimum,mean,std\na,{row}\n")
    assert len(violations) == 1
    assert violations[0].name == "a"
    assert violations[0].text.startswith(text)


def test_rounding_alone_accuses_nobody(tmp_path):
    header = "setting,median,mean,std\n"
    assert findings(tmp_path, header + "a,0.53,0.50,0.02\n") == []  # 0.525, 0.505 and 0.025 round to these
    assert len(findings(tmp_path, header + "a,0.530,0.500,0.020\n")) == 1
    assert findings(tmp_path, header + "a,1,0,1\n") == []


def test_the_bound_of_the_extremes_is_that_of_the_more_lenient_divisor(tmp_path):
    # One of five stands apart: the largest distance in standard deviations is 2 (n) or 1.789 (n - 1).
    values = np.array([1.0, 0, 0, 0, 0])
    for ddof in (0, 1):
        row = f"a,5,{values.max():.4f},{values.mean():.4f},{values.std(ddof=ddof):.4f}\n"
        assert findings(tmp_path, "setting,n,maximum,mean,std\n" + row) == []
    assert len(findings(tmp_path, "setting,n,maximum,mean,std\na,5,1.0000,0.2000,0.3990\n")) == 1


def test_a_long_table_says_the_same_as_a_wide_one(tmp_path):
    wide = findings(tmp_path, "data,method,n,median,mean,std,source\nLA,x,5,90.28,89.86,0.12,p. 3\n")
    text = "data,method,statistic,value,n,note\n"
    for name, value in (("median", "90.28"), ("mean", "89.86"), ("sd", "0.12"), ("iqm", "1")):
        text += f"LA,x,{name},{value},5,from {name}\n"
    assert findings(tmp_path, text) == wide
    assert wide[0].name == "LA x"


def test_spreadsheets_mark_of_utf8_and_names_beyond_ascii(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("Setting,Mean,Median,SD\nw/o Π,0.9,0.5,0.1\n", encoding="utf-8-sig")
    assert [finding.name for finding in audit(read_statistics(path))] == ["w/o Π"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has neither the columns"),
        ("setting,mean\na,1\n", "has neither the columns"),
        ("setting,mean,std\n", "holds no row"),
        ("setting,mean,std\na,much,1\n", r"line 2: mean is 'much'"),
        ("setting,mean,std\na,nan,1\n", r"line 2: mean is 'nan'"),
        ("setting,mean,std\na,1\n", r"line 2: does not have as many fields"),
        ("setting,n,mean,std\na,2.5,1,1\n", r"line 2: n is '2.5'"),
        ("setting,n,mean,std\na,0,1,1\n", r"line 2: n is '0'"),
        ("setting,mean,std,sd\na,1,1,1\n", "gives a column twice"),
        ("setting,mean,std\na,1,1\na,2,1\n", "line 3: gives mean of 'a' again"),
        ("setting,statistic,value,n\na,mean,1,5\na,std,1,4\n", "line 3: gives 'a' another n"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, fault):
    with pytest.raises(InputError, match=fault):
        findings(tmp_path, text)
