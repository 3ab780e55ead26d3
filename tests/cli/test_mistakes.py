"""Ten mistakes of a newcomer, as docs/troubleshooting.md lists them: the message says what to do."""

import os
import re
import socket
import subprocess
import sysconfig
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from cli.live import shown
from handlers.api.processing import adapted, call, failure_of
from handlers.processor import Context
from local.code import check_import, zip_bytes
from local.emulator import Emulator
from local.errors import LocalError
from local.recording import synthesise
from tests.graphs import ROOT

from .conftest import Command
from .test_new import clone as clone  # noqa: PLC0414  a fixture

TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()


@pytest.fixture
def shop(pipeline: Command, clone: Path) -> Path:
    """The user's project after `pipeline new shop`."""
    assert pipeline("new", "shop", cwd=clone).exit_code == 0
    return clone


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


STACK, PROCESSOR = "Pulumi.shop.yaml", "processors/shop.py"
NAME_A_FILE = "which the function does not have: name a requirements file with its package in worker.requirements"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (STACK, "datapipeline:worker:", "datapipeline:wrker:", "Pulumi.shop.yaml: datapipeline:wrker: unknown key; "),
        (STACK, "processors.shop:", "processors.shp:", "there is no file processors/shp.py"),
        (STACK, "shop:process", "shop:proces", "processors/shop.py has no function proces; it has process"),
        (PROCESSOR, "from typing", "import requests\nfrom typing", "shop.py:4: imports requests, " + NAME_A_FILE),
        (PROCESSOR, "def process(", "def process(:", "processors/shop.py:9 is not Python: "),
    ],
    ids=["wrong key", "wrong module", "missing function", "missing package", "syntax error"],
)  # fmt: skip
def test_a_wrong_stack_or_function_is_named_before_anything_starts(
    file: str, old: str, new: str, message: str, shop: Path, pipeline: Command
) -> None:
    replace(shop / file, old, new)
    checked = pipeline("check", "--stack", "shop", cwd=shop)
    assert checked.exit_code == 1
    assert message in checked.stderr
    assert "Traceback" not in checked.stderr


def test_an_exception_at_import_is_named_with_its_line(shop: Path) -> None:
    replace(shop / PROCESSOR, "def process(", 'raise RuntimeError("no config")\n\n\ndef process(')
    worker = synthesise(shop, "shop").find("aws:lambda/function:Function", "pipeline-worker")
    with chdir(shop):
        code = zip_bytes(worker.inputs["code"])
    variables = worker.inputs["environment"]["variables"]
    with pytest.raises(LocalError, match=r"RuntimeError: no config \(processors/shop\.py:9\)"):
        check_import(code, worker.inputs["handler"], variables, [sysconfig.get_path("purelib")])


def test_an_exception_at_run_time_shows_its_line_and_fails_the_event() -> None:
    def process(event: dict[str, Any]) -> Any:
        return event["amount"]

    answer = call(adapted(process), {}, Context(), 5)
    assert answer.error is not None
    assert failure_of(answer.error).text == "KeyError: 'amount'"
    line = '{"level": "WARNING", "message": "an attempt failed", "timestamp": "2026-11-26 23:53:12,140+0000", %s}'
    assert list(shown(line % '"exception": "KeyError: 1"'))[1:] == ["KeyError: 1"]


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=rf"port {port} on 127.0.0.1 is taken .*; choose another with --port"):
            Emulator(port=port).start()


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run make in a clone that has no environment yet, with a Python that only seems to make one."""
    for name in ("Makefile", "requirements.txt", "requirements-console.txt", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return subprocess.run(
        ["make", "environment", *arguments], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )


def test_an_old_python_is_named_with_the_way_out(tmp_path: Path) -> None:
    done = make(tmp_path, "PYTHON=false")
    assert done.returncode != 0
    assert (
        "false is not Python 3.11 or newer: install one and name it, as in: make run PYTHON=python3.13" in done.stderr
    )


def test_a_missing_network_is_explained(tmp_path: Path) -> None:
    done = make(tmp_path, "PYTHON=true", "PIP=false")
    assert done.returncode != 0
    assert "set HTTPS_PROXY, or PIP_INDEX_URL to a mirror of your own, and run make again" in done.stderr


def test_a_command_of_another_variant_names_both(shop: Path, pipeline: Command) -> None:
    failed = pipeline("simulate", "--stack", "shop", cwd=shop)
    assert failed.stderr == "error: stack 'shop' is of the variant 'api'; this command needs one of 'iot'\n"


def test_the_docs_list_each_mistake_with_what_to_do() -> None:
    (section,) = re.findall(r"## Ten mistakes of a newcomer\n(.*?)\n## ", TROUBLESHOOTING, re.DOTALL)
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 10
    assert [row for row in rows if len(row) != 3 or not all(cell.strip("| ") for cell in row)] == []
