"""docs/reference/: what is generated is current, and complete."""

import re

from typer.testing import CliRunner

from cli import reference
from cli.main import app
from components.config import VARIANTS
from components.options.csv import CsvInputOptions


def test_the_reference_is_current() -> None:
    stale = [file.name for file, page in reference.pages().items() if file.read_text(encoding="utf-8") != page]
    assert stale == [], "run: make generate"


def test_every_option_of_every_variant_has_a_line_with_its_description() -> None:
    page = reference.config_reference()
    for name, model in VARIANTS.items():
        (section,) = re.findall(rf"^## Variant {name}\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
        rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", section, re.MULTILINE)
        assert {key for key, *_ in rows} == set(model.model_fields)
        assert [key for key, kind, _, text in rows if not kind or not text] == []
    (section,) = re.findall(r"^## CsvInputOptions\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^\| `(\w+)` ", section, re.MULTILINE)) == set(CsvInputOptions.model_fields)
    assert "| `columns` | list of [ColumnOptions](#columnoptions) (from 1 to 5000) | required |" in section


def test_every_command_has_a_section_with_its_options() -> None:
    page = reference.command_reference()
    for command in re.findall(r"^## pipeline (.*)$", page, re.MULTILINE):
        (section,) = re.findall(rf"^## pipeline {command}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        printed = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
        named = set(re.findall(r"(?<=\W)--[a-z][a-z-]+", printed)) - {"--help"}
        assert named <= set(re.findall(r"(?<=\W)--[a-z][a-z-]+", section)), command
    assert len(re.findall(r"^## pipeline ", page, re.MULTILINE)) > 20
