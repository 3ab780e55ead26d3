"""`pipeline csv check`: a local file, read as the stack reads it."""

import gzip
import json
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
    assert "1 rows: 1 processed (100.00%), 0 rejected" in done.stdout


def test_rejected_rows_are_counted_and_written_and_exit_with_1(pipeline: Command, tmp_path: Path) -> None:
    path, rejected = tmp_path / "a.csv", tmp_path / "rejected.jsonl"
    path.write_text(HEADER + GOOD + "Bob,bob@example.com,1_000,2024-01-02,3\n")
    done = pipeline("csv", "check", str(path), "--rejected", str(rejected), "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["reasons"] == [{"column": "amount", "reason": "not_a_number", "count": 1}]
    assert json.loads(rejected.read_text())["raw"] == "Bob,bob@example.com,1_000,2024-01-02,3"


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
