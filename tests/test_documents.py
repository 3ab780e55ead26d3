"""The documents agree with the code, and their links lead somewhere."""

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from components.config import load
from components.options.api import ApiOptions
from components.options.common import Options
from components.options.csv import CsvPipelineConfig
from components.options.webhooks import WebhookOptions
from handlers.shared import errors
from local.project import load_project
from local.rules import RULES
from tests.graphs import SAMPLES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
# Values in the column "default" that mean no default.
NO_DEFAULT = ("none", "by `api.kind`", "detected", "not set", "UTF-8")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(document: str, head: str) -> list[list[str]]:
    """The cells of a table, found by the beginning of its first row."""
    (table,) = re.findall(rf"^{re.escape(head)}.*\n\|[-|]+\n((?:\|.*\n)+)", text(document), re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them: lower case, hyphens for spaces, no punctuation."""
    source = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", source, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    """The links to files of this repository."""
    return re.findall(r"\]\((?!https?://)([^)\s]+)\)", document.read_text(encoding="utf-8"))


def test_every_link_leads_to_an_existing_file_and_heading() -> None:
    broken = []
    for document in DOCUMENTS:
        for link in links(document):
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append((document.name, link))
    assert broken == []
    assert sum("#" in link for document in DOCUMENTS for link in links(document)) > 1


def test_the_site_has_every_page_and_no_other() -> None:
    listed = set(re.findall(r"[\w./-]+\.md", text("mkdocs.yml")))
    pages = {str(document.relative_to(ROOT)) for document in DOCUMENTS}
    decisions = {page for page in pages if page.startswith("docs/decisions/0")}
    assert listed == pages - decisions
    assert {f"docs/decisions/{name}" for name in links(ROOT / "docs/decisions/README.md")} == decisions


def test_every_test_file_named_in_a_document_exists() -> None:
    """By its path, or by its name alone where only one file has it."""
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    unique = {name for name, count in Counter(Path(file).name for file in files).items() if count == 1}
    named = [
        (document.name, name)
        for document in DOCUMENTS
        for name in re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)`", document.read_text(encoding="utf-8"))
    ]
    assert len(named) > 1
    assert [(document, name) for document, name in named if name not in files | unique] == []


def test_the_table_of_rules_lists_exactly_the_rules() -> None:
    documented = [name for row in rows("docs/security.md", "| rule |") for name in re.findall("`([a-z-]+)`", row[0])]
    assert sorted(documented) == sorted(rule.name for rule in RULES)


def refusals() -> Iterator[tuple[str, str]]:
    """The (file, code) of each error that clients can get."""
    for path in sorted((ROOT / "handlers").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == errors.__name__]
        names = {alias.name for node in imports for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}"
                yield path.name, str(node.args[0].value)


def test_every_error_code_is_in_the_document_of_its_routes() -> None:
    api, redrive = text("docs/api.md"), text("docs/dead-letters.md")
    found = list(refusals())
    assert {"no_such_route", "not_signed", "key_for_a_batch"} <= {code for _, code in found}
    missing = [
        (file, code)
        for file, code in found
        if f"`{code}`" not in (redrive if file == "redrive.py" and code != "no_such_route" else api)
    ]
    assert missing == []


def leaves(group: type[Options], path: str) -> Iterator[tuple[str, str]]:
    """Each option of a group and its subgroups, with its default as the tables write it."""
    for name, field in group.model_fields.items():
        kinds = get_args(field.annotation) if isinstance(field.annotation, UnionType) else (field.annotation,)
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Options)]
        if groups:
            yield from leaves(groups[0], f"{path}.{name}")
        else:
            yield f"{path}.{name}", default(field)


def default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "must be given"
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def documented_defaults(document: str) -> dict[str, str]:
    """The options and defaults in a document's table."""
    table = {key.strip("`"): value for key, value, *_ in rows(document, "| key | default |")}
    return {key: "" if value in NO_DEFAULT else value for key, value in table.items()}


def test_every_option_of_the_api_is_documented_with_its_default() -> None:
    assert documented_defaults("docs/api.md") == dict(leaves(ApiOptions, "api"))


def test_every_option_of_a_webhook_is_documented_with_its_default() -> None:
    documented = {f".{key}": value for key, value in documented_defaults("docs/webhooks.md").items()}
    # An empty text is none, too.
    assert documented == {key: "" if value == "``" else value for key, value in leaves(WebhookOptions, "")}


@pytest.mark.parametrize("group", ["input", "output"])
def test_every_option_of_csv_files_is_documented_with_its_default(group: str) -> None:
    options = CsvPipelineConfig.model_fields[group].annotation
    assert isinstance(options, type)
    assert issubclass(options, Options)
    documented = {key: value for key, value in documented_defaults("docs/csv.md").items() if key.startswith(group)}
    assert documented == dict(leaves(options, group))


def test_the_times_that_data_is_kept_are_the_defaults() -> None:
    kept = [
        (variant.strip("`"), option, days)
        for variant, _, _, how_long in rows("docs/security.md", "| variant | where |")
        for option, days in re.findall(r"`((?:storage|queue)\.\w+_days)`(?: \((\d+)\))?", how_long)
    ]
    assert {variant for variant, _, _ in kept} == {"api", "csv", "iot"}
    for variant, option, days in kept:
        given = load_project(SAMPLES, {"api": "dev"}.get(variant, variant)).config
        config: Any = load(given, file="Pulumi.test.yaml")
        assert functools.reduce(getattr, option.split("."), config) == (int(days) if days else None), option
