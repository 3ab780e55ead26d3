"""Files of other shapes, read by option: preambles, comments, footers, quotes, escapes, delimiters."""

import dataclasses
import json
from typing import Any

import pytest

from handlers.csv.columns import Column, FileFormat, Footer
from handlers.csv.engine import LONG_PADDING, CsvEngine
from handlers.csv.text import FileError

COLUMNS = (Column("a", required=True), Column("b"))


class Outcome:
    """The rows of a file as values, and the rejected ones as row, line and first reason."""

    def __init__(self, text: str, *, block: int | None = None, **options: Any) -> None:
        file_format = FileFormat(**{"columns": COLUMNS, **options})
        self.engine = CsvEngine(file_format)
        data = text.encode()
        first = self.engine.take(data[:block], final=False) if block else None
        self.first_consumed = first.consumed if first else 0
        last = self.engine.take(data[self.first_consumed :], final=True)
        done = [each for each in (first, last) if each]
        processed = b"".join(each.processed for each in done)
        self.rows = [list(json.loads(line).values()) for line in processed.split(b"\n") if line]
        rejected = map(json.loads, b"".join(each.rejected for each in done).splitlines())
        self.rejected = [(each["row"], each["line"], each["errors"][0]["reason"]) for each in rejected]
        self.report = self.engine.report()
        assert self.report["rows"] == len(self.rows) + len(self.rejected)


def failure(text: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(FileError) as raised:
        Outcome(text, **options)
    return raised.value.reason, str(raised.value)


# The header


def test_lines_before_the_header_are_skipped_and_counted_as_lines() -> None:
    outcome = Outcome('Report "of\nMay;\n\na,b\n1,x\n2,y,z\n', skip_lines=2)
    assert (outcome.rows, outcome.rejected) == ([["1", "x"]], [(2, 6, "too_many_cells")])
    assert outcome.report["header_line"] == 4
    assert Outcome("1,x\n", header="none").report["header_line"] is None


def test_more_lines_to_skip_than_the_file_has_leave_no_header() -> None:
    assert failure("a,b\n1,x\n", skip_lines=2)[0] == "no_header"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_the_header_is_found_behind_any_preamble(delimiter: str) -> None:
    text = f'Report{delimiter}"x\nof{delimiter}b\n\n#a,b\nb{delimiter}A\nx{delimiter}1\n'
    outcome = Outcome(text, header="find")
    assert (outcome.rows, outcome.report["delimiter"]) == ([["1", "x"]], delimiter)


def test_a_header_that_is_not_found_fails_the_file_and_names_the_columns() -> None:
    reason, message = failure("x,b\n1,2\n" * 600, header="find")
    assert reason == "missing_columns"
    assert "none of the first 1,000 lines has the names of all required columns: a" in message
    assert failure("x\n" * 1_000 + "a,b\n", header="find")[0] == "missing_columns"
    assert failure("x\n\ufeff", header="find")[0] == "missing_columns"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_without_a_header_columns_go_by_position(delimiter: str) -> None:
    outcome = Outcome(f"\n1{delimiter}x\n2{delimiter}y\n3\n", header="none")
    assert (outcome.rows, outcome.rejected) == ([["1", "x"], ["2", "y"]], [(3, 4, "too_few_cells")])
    assert outcome.report["delimiter"] == delimiter


def test_without_a_header_an_ambiguous_delimiter_fails_the_file() -> None:
    reason, message = failure("1,2;3\n", header="none")
    assert (reason, message) == (
        "ambiguous_delimiter",
        "the first row has 2 cells with each of the delimiters ',', ';': set input.delimiter",
    )
    assert Outcome("1,2;3\n", header="none", delimiter=";").rows == [["1,2", "3"]]


def test_a_header_line_is_never_data_where_none_is_expected() -> None:
    outcome = Outcome("A,b\n1,x\n", header="none")
    assert (outcome.rows, outcome.report["repeated_headers"]) == ([["1", "x"]], 1)
    assert failure("b,a\n1,x\n", header="none")[0] == "unexpected_header"


def test_a_cr_in_the_first_row_of_a_file_without_header_is_text_unless_it_has_no_other_line_ends() -> None:
    for block in (None, 4):
        assert Outcome("1,x\ry\n2,z\n", header="none", block=block).rows == [["1", "x\ry"], ["2", "z"]]
        assert Outcome("1,x\r2,y\r", header="none", block=block).rows == [["1", "x"], ["2", "y"]]


def test_a_row_with_names_in_it_is_no_header() -> None:
    assert Outcome("a,A\n", header="none", delimiter=",").rows == [["a", "A"]]


def test_a_file_without_header_needs_a_row() -> None:
    assert failure("\n\n", header="none")[0] == "empty_file"


# Columns without names, padding, appended files


def test_columns_without_names_at_the_end_are_none() -> None:
    text = "a,b,, \n1,x,,\n2,y\n3,z,\n4,w,,v\n5,q,,,\n6\n"
    for block in (None, 9):
        outcome = Outcome(text, block=block)
        assert outcome.rows == [["1", "x"], ["2", "y"], ["3", "z"], ["4", "w"]]
        assert outcome.rejected == [(5, 6, "too_many_cells"), (6, 7, "too_few_cells")]
    for unknown_columns in ("keep", "reject"):
        outcome = Outcome(text, unknown_columns=unknown_columns)
        assert outcome.rows == [["1", "x"], ["2", "y"], ["3", "z"]]
        assert outcome.rejected[0] == (4, 5, "nameless_column")
        assert outcome.report["unknown_columns"] == []


@pytest.mark.parametrize("filled", ["", "v"])
def test_columns_without_names_are_none_on_the_fast_path(filled: str) -> None:
    engine = CsvEngine(FileFormat(COLUMNS, unknown_columns="keep"))
    engine.take(b"a,b,\n", final=False)
    block = engine.take(f"1,x,\n2,y,{filled}\n".encode(), final=True)
    assert block.processed.count(b"\n") == (1 if filled else 2)
    assert block.rejected.count(b"nameless_column") == (1 if filled else 0)


def test_the_report_lists_missing_and_unknown_columns() -> None:
    report = Outcome("a,Other,other,\n1,x,y,\n").report
    assert (report["missing_columns"], report["unknown_columns"]) == (["b"], ["other", "other_2"])
    assert Outcome("b,a\n", delimiter=",").report["assumptions"] == []


def test_long_padding_costs_no_row_but_rows_after_it_are_rejected() -> None:
    engine = CsvEngine(FileFormat(COLUMNS))
    padding = b"\0" * LONG_PADDING
    assert engine.take(b"a,b\n1,x\n", final=False).consumed == 8
    for _ in range(3):
        assert engine.take(padding, final=False).consumed == len(padding)
    state = json.loads(json.dumps(engine.state()))
    engine.take(b"\x1a\0", final=True)
    assert (engine.rows, engine.report()["padding_characters"]) == (1, 3 * LONG_PADDING + 2)
    continued = CsvEngine(FileFormat(COLUMNS), state)
    block = continued.take(b"2,y\n3,z\n\x1a", final=True)
    assert json.loads(block.processed) == {"a": "3", "b": "z"}
    (rejected,) = map(json.loads, block.rejected.splitlines())
    assert (rejected["row"], rejected["raw"], rejected["errors"][0]["reason"]) == (2, "2,y", "nul")
    assert continued.report()["padding_characters"] == 1


@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
@pytest.mark.parametrize("quoted", ["2,y", '2,"y"'])
def test_appended_files_are_read_and_their_headers_are_never_data(mark: str, quoted: str) -> None:
    outcome = Outcome(f"a,b\n1,x\n{mark}a,b\n{quoted}\n{mark}3,z\n", block=8)
    assert (outcome.rows, outcome.rejected) == ([["1", "x"], ["2", "y"], ["3", "z"]], [])
    assert outcome.report["repeated_headers"] == 1
    assert outcome.report["byte_order_marks"] == (2 if mark else 0)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_header_that_is_glued_to_the_last_row_of_the_file_before_is_never_data(quote: str) -> None:
    text = f"a,b\n1,x\n2,{quote}y{quote}\ufeffa,b\n3,z\n4\ufeffa,b"
    for block in (None, 5, 14):
        outcome = Outcome(text, block=block)
        assert (outcome.rows, outcome.rejected) == ([["1", "x"], ["2", "y"], ["3", "z"]], [(4, 5, "too_few_cells")])
        assert (outcome.report["repeated_headers"], outcome.report["byte_order_marks"]) == (2, 2)


def test_a_mark_inside_a_cell_is_text() -> None:
    assert Outcome('a,b\n1,\ufeffx\n2,"\n\ufeffy"\n').rows == [["1", "\ufeffx"], ["2", "\n\ufeffy"]]


# Comments


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoted", ["x", '"x"', '"x, y"'])
def test_comments_are_no_rows_whatever_they_contain(quoted: str, end: str) -> None:
    lines = ["# one", "a,b", '#"open', f"1,{quoted}", "#2,y", '3,"z', '# no comment"', "4", "# end"]
    outcome = Outcome(end.join(lines), comment="#")
    assert outcome.rows == [["1", quoted.strip('"')], ["3", f"z{end}# no comment"]]
    assert outcome.rejected == [(3, 8, "too_few_cells")]
    assert outcome.report["comment_lines"] == 3


def test_without_the_option_a_comment_is_a_row() -> None:
    assert Outcome("a,b\n#1,x\n").rows == [["#1", "x"]]


# Footers


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_last_rows_are_no_data_even_if_they_fill_a_later_block(quote: str) -> None:
    text = f"a,b\n{quote}1{quote},x\n2,y\nTotal,2\n\n***\n"
    for block in range(8, len(text)):
        outcome = Outcome(text, footer=Footer(last_rows=2), block=block)
        assert outcome.rows == [["1", "x"], ["2", "y"]]
        assert (outcome.report["footer_rows"], outcome.report["rejected"]) == (2, 0)


def test_a_file_shorter_than_its_footer_has_no_rows() -> None:
    outcome = Outcome("a,b\n1,x\n", footer=Footer(last_rows=2))
    assert (outcome.rows, outcome.report["footer_rows"]) == ([], 1)


def test_rows_that_begin_like_the_footer_are_one_only_at_the_end() -> None:
    text = 'a,b\nTotal,1\n1,x\nTotal,2\n\n"Sum, all",3,4\n'
    for block in (None, *range(8, len(text))):
        outcome = Outcome(text, footer=Footer(starts_with=("Total", '"Sum')), block=block)
        assert outcome.rows == [["1", "x"]]
        assert outcome.rejected == [(1, 2, "footer_before_rows")]
        assert outcome.report["footer_rows"] == 2


# Quotes, escapes, delimiters


def test_another_quote_character_may_be_set() -> None:
    assert Outcome("""a,b\n'1, "2"','it''s'\n""", quote="'").rows == [['1, "2"', "it's"]]
    assert Outcome("a,b\n1,'x\ny'\n", quote="'").rows == [["1", "x\ny"]]


@pytest.mark.parametrize("rows", ['1,"x\n', '1,"x"\n', '"1","x"\n'])
def test_quotes_are_text_by_option(rows: str) -> None:
    text = "a,b\n" + rows
    assert Outcome(text, quoting="none").rows == [rows.strip().split(",")]


def test_an_escape_makes_special_characters_text_and_leaves_others() -> None:
    text = 'a,b\n"say \\"hi\\"","C:\\tmp"\n1\\,2,x\\\\\n"open\\\\",y\n1\\\n2,z\n'
    outcome = Outcome(text, escape="\\")
    assert outcome.rows == [['say "hi"', "C:\\tmp"], ["1,2", "x\\"], ["open\\", "y"], ["1\n2", "z"]]
    assert Outcome(text + "5\\,6\n", escape="\\").rejected == [(5, 7, "too_few_cells")]
    rejected = Outcome(text, block=len(text) - 6, escape="\\")
    assert rejected.rows == outcome.rows


def test_a_row_with_escapes_is_shown_as_it_is_written() -> None:
    engine = CsvEngine(FileFormat(COLUMNS, escape="\\", delimiter="||"))
    block = engine.take(b'a||b\n1\\||2||"x\\"||"||y\\z\n', final=True)
    assert json.loads(block.rejected)["raw"] == '1\\||2||"x\\"||"||y\\z'


def test_mysql_and_postgres_have_their_own_escapes_and_nulls() -> None:
    text = "a\tb\n1\t\\N\nx\\ty\\\\N\t\\\\N\n\\N1\tl\\\n2\\n3\n"
    for style in ("mysql", "postgres"):
        outcome = Outcome(text, escape="\\", escape_style=style, quoting="none")
        assert outcome.rows == [["1", None], ["x\ty\\N", "\\N"], ["N1", "l\n2\n3"]]
    assert Outcome("a\tb\n1\tx\\v\\Z\n", escape="\\", escape_style="postgres").rows == [["1", "x\vZ"]]
    mysql = Outcome("a\tb\n1\tx\\v\\Z\n2\t\\0\n", escape="\\", escape_style="mysql")
    assert (mysql.rows, mysql.rejected) == ([["1", "xv\x1a"]], [(2, 3, "nul")])


def test_spaces_after_delimiters_are_ignored_by_option() -> None:
    for rows in ('1,  "x, y"\n', " 1, x, y\n2,  z\n", " 1, z\n"):
        outcome = Outcome("a, b\n" + rows, skip_initial_space=True, block=5)
        assert outcome.rows[-1] in (["1", "x, y"], ["2", "z"], ["1", "z"])


@pytest.mark.parametrize("delimiter", ["||", "~|~", "<>", "; "])
def test_a_delimiter_may_have_several_characters(delimiter: str) -> None:
    rows = [["a", "b"], ["1", "x"], ["2", "|;~"], [f'"3{delimiter}"', '"\ufdd0\n"'], ["4"]]
    outcome = Outcome("".join(delimiter.join(row) + "\n" for row in rows), delimiter=delimiter)
    assert outcome.rows == [["1", "x"], ["2", "|;~"], [f"3{delimiter}", "\ufdd0\n"]]
    assert outcome.rejected == [(4, 6, "too_few_cells")]
    assert outcome.report["delimiter"] == delimiter


def test_a_tab_separated_row_that_may_be_several_is_rejected_unless_quoting_is_set() -> None:
    text = 'a\tb\n1\t"x\n2\ty"\n3\t"z\nz"\n'
    outcome = Outcome(text)
    assert (outcome.rows, outcome.rejected) == ([["3", "z\nz"]], [(1, 2, "ambiguous_quoting")])
    assert Outcome(text, quoting="standard").rows == [["1", "x\n2\ty"], ["3", "z\nz"]]
    assert Outcome(text, quoting="none").rows == [["1", '"x'], ["2", 'y"'], ["3", '"z']]
    assert Outcome(text.replace("\t", ",")).rows == [["1", "x\n2,y"], ["3", "z\nz"]]


def test_rows_of_any_length_by_escaped_line_ends_are_rejected_and_reading_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("handlers.csv.engine.LONGEST_ROW_BYTES", 20)
    file_format = FileFormat(COLUMNS, escape="\\")
    engine = CsvEngine(file_format)
    assert engine.take(b"a,b\n1,x\n", final=False).consumed == 8
    block = engine.take(b"x\\\n" * 20, final=False)
    assert (block.consumed, json.loads(block.rejected)["errors"][0]["reason"]) == (3, "row_too_long")


def test_a_format_is_the_same_after_a_round_trip_through_json() -> None:
    file_format = FileFormat(COLUMNS, footer=Footer(starts_with=("Total",)), comment="#")
    values = dataclasses.asdict(file_format)
    assert FileFormat.from_json(json.dumps(values)) == file_format


@pytest.mark.parametrize("options", [{"comment": "#"}, {"footer": Footer(starts_with=("#",))}])
def test_special_lines_that_look_like_rows_are_seen_in_blocks_without_quotes(options: dict[str, Any]) -> None:
    engine = CsvEngine(FileFormat(COLUMNS, **options))
    engine.take(b"a,b\n1,x\n", final=False)
    block = engine.take(b"2,y\n#3,z\n", final=True)
    assert json.loads(block.processed) == {"a": "2", "b": "y"}
    assert (engine.rows, block.rejected) == (2, b"")
