"""`pipeline csv check`: a local file, read as the stack reads it."""

import gzip
import json
import stat
from pathlib import Path

import yaml

from tests.graphs import SAMPLES

from .conftest import Command

HEADER = "name,email,amount,date,quantity\n"
GOOD = "Ann,ann@example.com,12.50,2024-01-02,3\n"


def test_a_valid_file_is_reported_and_exits_with_0(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + GOOD).encode()))
    done = pipeline("csv", "check", str(path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "1 rows: 1 processed (100 %), 0 rejected" in done.stdout


def test_rejected_rows_are_counted_and_written_and_exit_with_1(pipeline: Command, tmp_path: Path) -> None:
    path, rejected = tmp_path / "a.csv", tmp_path / "rejected.jsonl"
    rejected.write_text("of the last run, for everybody to read")
    path.write_text(HEADER + GOOD + "Bob,bob@example.com,1_000,2024-01-02,3\n")
    done = pipeline("csv", "check", str(path), "--rejected", str(rejected), "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["reasons"] == [{"column": "amount", "reason": "not_a_number", "count": 1}]
    assert json.loads(rejected.read_text())["raw"] == "Bob,bob@example.com,1_000,2024-01-02,3"
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600


def test_rejected_rows_are_not_written_over_the_file_itself(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + GOOD)
    (tmp_path / "link.csv").symlink_to(path)
    for name in ("a.csv", "link.csv"):
        done = pipeline("csv", "check", str(path), "--rejected", str(tmp_path / name))
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.endswith("is the file to check, and would be overwritten: name another\n")
    assert path.read_text() == HEADER + GOOD


def test_errors_name_a_missing_file_and_a_wrong_header(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("no,such,columns\n")
    done = pipeline("csv", "check", str(path))
    assert done.exit_code == 1
    assert "missing_columns: the header lacks name" in done.stdout
    assert pipeline("csv", "check", str(tmp_path / "none.csv")).stderr.endswith("none.csv: No such file or directory\n")


def test_a_stack_of_another_variant_is_an_error(pipeline: Command, tmp_path: Path) -> None:
    done = pipeline("csv", "check", str(tmp_path / "a.csv"), "--stack", "dev")
    assert (done.exit_code, done.stderr) == (
        1,
        "error: stack 'dev' is of the variant 'api'; this command needs one of 'csv'\n",
    )


def test_a_file_in_the_second_encoding_is_read_and_its_rejected_rows_are_written_once(
    pipeline: Command, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    stack = yaml.safe_load((SAMPLES / "Pulumi.csv.yaml").read_text())
    stack["config"]["datapipeline:input"]["encodings"] = ["utf-8", "windows-1252"]
    (tmp_path / "Pulumi.csv.yaml").write_text(yaml.safe_dump(stack))
    bad = "Bob,nomail,1,2024-01-02,3\n"
    (tmp_path / "a.csv").write_bytes((HEADER + bad + GOOD * 10_000 + GOOD.replace("Ann", "Zoë")).encode("cp1252"))
    done = pipeline("csv", "check", "a.csv", "--rejected", "rejected.jsonl", "--json", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert (report["processed"], report["encoding"]) == (10_001, "windows-1252")
    assert [json.loads(line)["raw"] for line in (tmp_path / "rejected.jsonl").read_text().splitlines()] == [bad.strip()]


def test_the_first_rejected_rows_are_shown_with_the_cell_to_blame_marked(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    bad = '"Bob, the long",bob@example.com,"1.234,50",2024-01-02,3\n'
    path.write_text(HEADER + GOOD + bad + "Al,al@example.com\n" + bad * 20)
    done = pipeline("csv", "check", str(path))
    assert "Rejected rows (the first 10 of 22)" in done.stdout
    shown = done.stdout.partition("Rejected rows")[2].partition("Assumed")[0]
    assert '>"1.234,50"<' in shown
    assert "amount:" in shown
    assert "(row): too_few_cells" in shown
    assert (
        "Suggestion: input.columns.amount: {decimal: ',', group: .}  (21 cells in amount are rejected, such as "
        "'1.234,50'; cells such as 1.234 were read with a decimal point)\n" in done.stdout
    )


def test_what_was_assumed_and_left_out_is_said(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        HEADER.replace("\n", ",zz\n").replace(",", ";") + "\n" + GOOD.replace("\n", ",x\n").replace(",", ";")
    )
    done = pipeline("csv", "check", str(path))
    assert "Not rows: 1 blank lines\nUnknown columns: zz\nAssumed: input.delimiter is ';': " in done.stdout


def test_a_rejected_row_cannot_write_to_the_terminal(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER + "\x1b[31mBob,bob@example.com,[bold]1,2024-01-02,3\n")
    done = pipeline("csv", "check", str(path))
    assert "\x1b" not in done.stdout
    assert ">[bold]1<" in done.stdout
