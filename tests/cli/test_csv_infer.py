"""`pipeline csv infer`: what it prints is a stack file's input, with which the file is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.csv_infer import run_csv_infer
from cli.csv_profile import Guess, Profile
from components.config import load
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import FileFormat
from handlers.csv.engine import CsvEngine
from local.errors import LocalError
from tests.handlers.csv.reading import read_file
from tests.handlers.csv.test_cases import CASES, DIRECTORY

from .conftest import Command

FILE = """\
Report of May

Order ID;Bestellt am;Preis (€);zip;aktiv;Größe;at;sent
1;31.01.2024;1.234,50;00501;WAHR;1,5;2024-01-31 12:00;01/02/2024
2;01.02.2024;3,5;01730;FALSCH;NULL;2024-01-31 12:00;01/02/2024
3;01.02.2024;3,5;01730;FALSCH;2,75;;03/02/2024
"""
INFERRED = """\
# orders.csv: 3 rows looked at.
# Beside each column: the share of these rows that fit.
config:
  datapipeline:input:
    skip_lines: 2
    delimiter: ;
    columns:
      - {name: order_id, type: integer, required: true}  # 100 %
      - {name: bestellt_am, type: date, required: true, format: ['%d.%m.%Y']}  # 100 %
      - {name: preis_eur, type: number, required: true, decimal: ',', group: .}  # 100 %
      - {name: zip, required: true}  # 100 %; digits with leading zeros, so no number
      - {name: aktiv, type: boolean, required: true, true_values: [WAHR], false_values: [FALSCH]}  # 100 %
      - {name: groe, aliases: [Größe], type: number, decimal: ',', null_values: ['NULL']}  # 100 %
      - {name: at, type: datetime}  # 100 %
      - {name: sent, type: date, required: true, format: ['%d/%m/%Y', '%m/%d/%Y']}  # 100 %; \
keep the right one of %d/%m/%Y, %m/%d/%Y
"""


def inferred(path: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> str:
    assert run_csv_infer(str(path), 100_000, as_json=as_json) == 0
    return capsys.readouterr().out


def read_with(text: str, path: Path) -> tuple[CsvEngine, bytes, bytes]:
    """Read a file with the input that was printed for it."""
    given = yaml.safe_load(text)["config"]["datapipeline:input"]
    config = load(
        {
            "datapipeline:variant": "csv",
            "datapipeline:environment": "dev",
            "datapipeline:input": json.dumps(given),
        },
        file="Pulumi.dev.yaml",
    )
    assert isinstance(config, CsvPipelineConfig)
    with path.open("rb") as file:
        return read_file(file, FileFormat.from_json(config.format_json()))


def test_columns_are_printed_for_a_stack_file(pipeline: Command, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(FILE)
    done = pipeline("csv", "infer", str(path))
    assert (done.exit_code, done.stdout, done.stderr) == (0, INFERRED, "")


def test_what_two_formats_read_differently_stays_rejected_until_a_person_has_chosen(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(FILE)
    engine, _, rejected = read_with(INFERRED, path)
    assert [error["reason"] for line in rejected.splitlines() for error in json.loads(line)["errors"]] == [
        "ambiguous_date"
    ] * 3
    engine, _, _ = read_with(INFERRED.replace("['%d/%m/%Y', '%m/%d/%Y']", "'%d/%m/%Y'"), path)
    assert engine.processed == 3


@pytest.mark.parametrize(
    ("cells", "guess"),
    [
        (
            ["1", "-2", "+03", "4"],
            Guess("string", {"required": True}, 1.0, ("digits with leading zeros, so no number",)),
        ),
        (["1", "2"], Guess("integer", {"required": True})),
        (["0", "1"], Guess("integer", {"required": True})),
        (["true", "", "no"], Guess("boolean")),
        (["1.5", "2"], Guess("number", {"required": True})),
        (["$1", "$2"], Guess("integer", {"required": True, "strip": ("$",)})),
        (["1,5", "2,75"], Guess("number", {"required": True, "decimal": ","})),
        (["2024-01-31", "NA"], Guess("date", {"null_values": ["NA"]})),
        (["31.01.2024", "2024-02-01"], Guess("date", {"required": True, "format": ("%d.%m.%Y",)})),
        (
            ["31.01.2024"] * 2 + ["31/12/2024"] * 2,
            Guess("date", {"required": True, "format": ("%d.%m.%Y", "%d/%m/%Y")}),
        ),
        (["2024-01-31 12:30:00+00"], Guess("datetime", {"required": True})),
        (["31.01.2024 12:30"], Guess("datetime", {"required": True, "format": ("%d.%m.%Y %H:%M",)})),
        (["1"] * 19 + ["x"], Guess("integer", {"required": True}, 0.95)),
        (["1", "x"], Guess("string", {"required": True})),
        (["", ""], Guess("string", remarks=("no values",))),
        (["a", "NULL"], Guess("string", {"required": True}, 1.0, ("null_values? NULL",))),
        (["99999999999999999999"], Guess("number", {"required": True})),
    ],
)
def test_the_narrowest_type_that_reads_the_cells_is_taken(cells: list[str], guess: Guess) -> None:
    profile = Profile()
    profile.add(cells)
    assert profile.guess() == guess


def test_a_number_that_can_be_read_in_two_ways_stays_text_and_says_so() -> None:
    profile = Profile()
    profile.add(["1.234", "5.678"])
    guess = profile.guess()
    assert guess.kind == "string"
    assert guess.remarks == ("a number that can be read in several ways: {'decimal': ',', 'group': '.'} or {}",)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_file_is_read_with_the_columns_inferred_from_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (DIRECTORY / name).glob("x.csv*")
    try:
        found = json.loads(inferred(path, capsys, as_json=True))
    except LocalError as error:
        assert any(reason in str(error) for reason in ("not_csv", "not_text", "is empty", "gzip_truncated"))  # noqa: PT017
        return
    engine, _, rejected = read_with(inferred(path, capsys), path)
    assert engine.rows == found["rows"] + found["rejected"]
    reasons = {error["reason"] for line in rejected.splitlines() for error in json.loads(line)["errors"]}
    if all(each["share"] == 1 for each in found["columns"]):
        assert engine.rejected == found["rejected"] or reasons == {"ambiguous_date"}


names = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=5)
cells = st.sampled_from(["", "1", "1,5", "x", "31.01.2024", "NULL", "true", "#", "- {a: b}", "é", "'", "\t", "1e5"])


@given(header=st.lists(names, min_size=1, max_size=4), rows=st.lists(st.lists(cells, max_size=4), max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_printed_for_any_file_is_a_valid_input_or_an_error_of_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], header: list[str], rows: list[list[str]]
) -> None:
    path = tmp_path / "a.csv"
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n")
    try:
        text = inferred(path, capsys)
    except LocalError:
        return
    columns: Any = yaml.safe_load(text)["config"]["datapipeline:input"]["columns"]
    if columns:
        read_with(text, path)


def test_a_file_that_is_not_there_or_not_csv_is_an_error_of_one_line(pipeline: Command, tmp_path: Path) -> None:
    done = pipeline("csv", "infer", str(tmp_path / "none.csv"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("none.csv: No such file or directory\n")
    (tmp_path / "a.csv").write_bytes(b"%PDF-1.7\n")
    done = pipeline("csv", "infer", str(tmp_path / "a.csv"))
    assert done.stderr == "error: a.csv: not_csv: the file is not CSV; it is a PDF document: export the table as CSV\n"
