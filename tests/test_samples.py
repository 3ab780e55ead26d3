"""Samples and files of the user: the tests need no sample in the root, and no file of a user changes their result."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graphs import SAMPLES
from tests.user_files import ROOT, belongs_to_the_user

OUR_TESTS = ("test_echo.py", "test_orders.py", "test_receipts.py")
FILES = sorted(
    path.relative_to(SAMPLES) for pattern in ("Pulumi.*.yaml", "*/*.py", "*/*.json") for path in SAMPLES.glob(pattern)
)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_sample_in_the_root_is_the_one_that_the_tests_use(file: Path) -> None:
    """A file with another beginning is the user's own."""
    tested, shipped = (SAMPLES / file).read_text(), ROOT / file
    here = shipped.read_text() if shipped.is_file() else tested
    beginning = tested.splitlines()[:2]
    assert here == tested or here.splitlines()[:2] != beginning, (
        f"change tests/samples/{file} too, or begin the file anew"
    )


def test_a_test_that_reads_a_file_of_the_user_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/cli/test_check.py::test_something (call)")
    for name in ("Pulumi.dev.yaml", "processors/mine.py", "schemas/mine.json"):
        with pytest.raises(AssertionError, match="belongs to the user"):
            (ROOT / name).open()
    (ROOT / "schemas/stack.schema.json").open().close()
    (ROOT / "Pulumi.yaml").open().close()


def test_the_tests_pass_in_a_clone_without_samples_and_with_files_of_the_user(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".build", "__pycache__")
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=ignored)
    for path in [path for path in clone.rglob("*") if path.is_file()]:
        if belongs_to_the_user(str(ROOT / path.relative_to(clone))) and path.name not in ("Pulumi.dev.yaml", "echo.py"):
            path.unlink()
    # Tests of the user's own need the files that are gone now.
    for path in [*clone.glob("tests/processors/*.py"), *clone.glob("tests/stacks/*.py")]:
        if path.name not in OUR_TESTS:
            path.unlink()
    (clone / "Pulumi.csv.yaml").write_text("config:\n  datapipeline:variant: of my own\n")
    (clone / "processors" / "orders.py").write_text("def process(event:\n")
    (clone / "schemas" / "order.json").write_text("{")
    tests = ["tests/cli/test_check.py", "tests/test_readme.py", "tests/processors"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
