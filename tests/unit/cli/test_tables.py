from hypothesis import given
from hypothesis import strategies as st

from dropdeploy.cli.tables import Column, cells, cut, table

COLUMNS = (Column("ID", is_number=True), Column("UPLOAD"), Column("BY"), Column("STATUS", least=11))
ROWS = (
    ("9", "build.tar.gz", "", "deployed"),
    ("10", "a-build-with-quite-a-long-name.tar.gz", "", "rolled-back"),
)


def test_columns_are_as_wide_as_they_must_be_and_empty_ones_are_left_out() -> None:
    assert table(COLUMNS, ROWS) == [
        "ID  UPLOAD                                 STATUS",
        " 9  build.tar.gz                           deployed",
        "10  a-build-with-quite-a-long-name.tar.gz  rolled-back",
    ]


def test_the_widest_column_is_cut_until_it_fits() -> None:
    assert table(COLUMNS, ROWS, 40) == [
        "ID  UPLOAD                   STATUS",
        " 9  build.tar.gz             deployed",
        "10  a-build-with-quite-a-l…  rolled-back",
    ]


def test_what_must_stay_readable_is_not_cut_even_on_a_narrow_terminal() -> None:
    assert table(COLUMNS, ROWS, 10)[2] == "10  a-build…  rolled-back"


def test_wide_characters_take_two_cells() -> None:
    rows = (("1", "構築.zip", "", "deployed"), ("2", "b.zip", "", "failed"))
    assert table(COLUMNS, rows)[1:] == [" 1  構築.zip  deployed", " 2  b.zip     failed"]


def test_paint_does_not_move_anything() -> None:
    columns = (Column("STATUS", paint=lambda text: f"<{text}>"), Column("AGE", is_number=True))
    assert table(columns, (("ok", "3 s"), ("failed", "12 s")))[1:] == ["<ok>       3 s", "<failed>  12 s"]


@given(st.text(), st.integers(0, 20))
def test_cut_keeps_to_the_width(text: str, width: int) -> None:
    assert cells(cut(text, width)) <= width
    if cells(text) <= width:
        assert cut(text, width) == text


@given(st.lists(st.tuples(*[st.text("abc構é", max_size=30)] * 4), min_size=1), st.integers(60, 100))
def test_lines_fit(rows: list[tuple[str, ...]], width: int) -> None:
    assert all(cells(line) <= width for line in table(COLUMNS, rows, width))


def test_columns_go_where_even_cut_ones_do_not_fit() -> None:
    columns = (Column("ID"), Column("UPLOAD", least=12), Column("BY", goes=2), Column("TOOK", goes=1))
    rows = (("1", "build.tar.gz", "alice", "3 s"),)
    assert table(columns, rows, 25) == ["ID  UPLOAD        TOOK", "1   build.tar.gz  3 s"]
    assert table(columns, rows, 20) == ["ID  UPLOAD", "1   build.tar.gz"]
    assert table(columns, rows, 5) == ["ID  UPLOAD", "1   build.tar.gz"]
