"""Imports of a processor that its function lacks, read from the source."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from components.imports import Missing, missing_imports


def found(folder: Path, files: dict[str, str], names: AbstractSet[str] = frozenset()) -> list[Missing]:
    for name, text in files.items():
        path = folder / "processors" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "handlers").mkdir(exist_ok=True)
    (folder / "handlers" / "processor.py").touch()
    return list(missing_imports("processors.mine", {"processors": folder, "handlers": folder}, names))


@pytest.mark.parametrize(
    "text",
    [
        "import json, os.path, xml.etree.ElementTree",
        "from collections.abc import Mapping",
        "import boto3\nfrom botocore.exceptions import ClientError",
        "import yaml\nimport yaml.nodes",
        "from handlers.processor import Rejected, secret",
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pydantic",
        "import typing\nif typing.TYPE_CHECKING:\n    import pydantic\nelse:\n    import json",
        "try:\n    import orjson\nexcept ImportError:\n    orjson = None",
        "try:\n    import orjson\nexcept (ModuleNotFoundError, AttributeError):\n    import json as orjson",
        "import importlib\nimportlib.import_module('pydantic')",
    ],
)
def test_what_is_there_or_is_not_needed_is_no_problem(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, {"mine": text}, {"yaml"}) == []


@pytest.mark.parametrize(
    ("text", "line", "module"),
    [
        ("import pydantic", 1, "pydantic"),
        ("import json\nimport numpy.linalg as la", 2, "numpy.linalg"),
        ("from pydantic import BaseModel", 1, "pydantic"),
        ("def process(event):\n    import pydantic\n    return {}", 2, "pydantic"),
        ("async def process(event):\n    from httpx import get\n    return {}", 2, "httpx"),
        ("class A:\n    def __call__(self, event):\n        import pydantic", 3, "pydantic"),
        ("try:\n    import orjson\nexcept ValueError:\n    pass", 2, "orjson"),
        ("try:\n    import orjson\nexcept ImportError:\n    import ujson", 4, "ujson"),
        ("try:\n    import orjson\nfinally:\n    pass", 2, "orjson"),
        ("if True:\n    import pydantic", 2, "pydantic"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b", 5, "b"),
        # Python 3.13, which functions run on, does not have them; the Python that runs this may.
        ("import telnetlib", 1, "telnetlib"),
        ("from distutils.util import strtobool", 1, "distutils.util"),
    ],
)
def test_what_is_missing_is_found_with_its_line(tmp_path: Path, text: str, line: int, module: str) -> None:
    assert found(tmp_path, {"mine": text}, {"yaml"}) == [Missing(f"processors/mine.py:{line}", module, is_own=False)]


def test_modules_of_the_project_are_followed(tmp_path: Path) -> None:
    missing = found(
        tmp_path,
        {
            "mine": "from processors import rates\nfrom processors.deep.tables import lookup\nfrom . import close\n",
            "rates": "import pandas\n",
            "close": "from .deep import other\n",
            "deep/tables": "from ..rates import RATE\nimport polars\n",
            "deep/other": "import duckdb\n",
            "not_imported": "import scipy\n",
        },
    )
    assert {(each.place, each.module) for each in missing} == {
        ("processors/rates.py:1", "pandas"),
        ("processors/deep/tables.py:2", "polars"),
        ("processors/deep/other.py:1", "duckdb"),
    }


def test_what_a_package_imports_when_it_is_imported_counts(tmp_path: Path) -> None:
    files = {"mine": "import processors.deep.tables\n", "deep/__init__": "import pandas\n", "deep/tables": ""}
    assert [each.place for each in found(tmp_path, files)] == ["processors/deep/__init__.py:1"]


@pytest.mark.parametrize(
    "text",
    ["from processors.gone import x", "import handlers.gone", "from .gone import x", "from handlers.gone import y"],
)
def test_a_module_of_the_project_that_is_not_there_is_found(tmp_path: Path, text: str) -> None:
    (missing,) = found(tmp_path, {"mine": text})
    assert (missing.place, missing.is_own) == ("processors/mine.py:1", True)
    assert missing.module.endswith(".gone")


def test_modules_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    assert found(tmp_path, {"mine": "from processors import other", "other": "from processors import mine"}) == []


def test_a_module_that_is_not_there_itself_is_found(tmp_path: Path) -> None:
    assert [(each.module, each.is_own) for each in found(tmp_path, {})] == [("processors.mine", True)]
