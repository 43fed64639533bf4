import pytest

from medssl.common.errors import InputError
from medssl.data.lists.patients import patients_of

CASES = ("P1_pre", "P1_post", "P2_pre")


def test_pattern_gives_its_first_group_or_all_that_it_matches():
    expected = {"P1_pre": "P1", "P1_post": "P1", "P2_pre": "P2"}
    assert patients_of(CASES, pattern=r"^(P\d+)_") == expected
    assert patients_of(CASES, pattern=r"P\d+") == expected


def test_table_may_hold_more_rows_and_columns_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text(
        "\ufeffage,case,patient\n3,P1_pre, Ä b \n3,P1_post,Ä b\n4,P2_pre,7\n5,other,9\n", encoding="utf-8"
    )
    assert patients_of(CASES, table=path) == {"P1_pre": "Ä b", "P1_post": "Ä b", "P2_pre": "7"}


def test_bids_names_say_the_patient_and_others_say_nothing():
    assert patients_of(("sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02")) == {
        "sub-01_ses-1_T1w": "sub-01",
        "sub-01_ses-2_T1w": "sub-01",
        "sub-02": "sub-02",
    }
    assert patients_of(("sub-01_T1w", "phantom")) is None
    assert patients_of(CASES) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case,name\nP1_pre,1\n", "no columns 'case' and 'patient'"),
        ("", "no columns"),
        ("case,patient\nP1_pre,1\n", r"nothing of 2 cases \(P1_post, P2_pre\)"),
        ("case,patient\nP1_pre,1\nP1_pre,2\n", "two patients"),
        ("case,patient\nP1_pre,\n", "row 2: has an empty cell"),
        ("case,patient\nP1_pre\n", "row 2: has an empty cell"),
        (b"case,patient\n\xff,1\n", "cannot be read"),
    ],
)
def test_bad_tables_are_named(tmp_path, content, message):
    path = tmp_path / "groups.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        patients_of(CASES, table=path)
    assert str(path) in str(caught.value)


def test_bad_patterns_and_both_at_once_are_refused(tmp_path):
    with pytest.raises(InputError, match="no regular expression"):
        patients_of(CASES, pattern="(")
    with pytest.raises(InputError, match=r"nothing of 1 cases \(P2_pre\)"):
        patients_of(CASES, pattern="P1")
    with pytest.raises(InputError, match="as a table and as a pattern"):
        patients_of(CASES, pattern="P", table=tmp_path / "x.csv")
    with pytest.raises(InputError, match="no such file"):
        patients_of(CASES, table=tmp_path / "x.csv")
