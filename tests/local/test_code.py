"""Code archives, and the check that a handler can be imported from its archive alone."""

import contextlib
import io
import os
import re
import zipfile
from pathlib import Path

import pulumi
import pytest

from components.layers import layer_archive
from components.package import LOCAL_VARIABLE
from local.code import check_import, source_files, zip_bytes
from local.errors import LocalError
from local.packages import layer_folders


def _archive(**files: str) -> pulumi.AssetArchive:
    return pulumi.AssetArchive(
        {name.replace("__", "/") + ".py": pulumi.StringAsset(text) for name, text in files.items()}
    )


def _contents(code: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def _problem(handler: str, *packages: str, **files: str) -> str:
    with pytest.raises(LocalError) as raised:
        check_import(zip_bytes(_archive(**files)), handler, {"COLOUR": "red"}, packages)
    return str(raised.value)


def test_the_same_files_give_the_same_bytes_whatever_their_times(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("A = 1\n")
    archive = pulumi.AssetArchive({"b.py": pulumi.StringAsset("B = 2\n"), "a.py": pulumi.FileAsset(file)})
    first = zip_bytes(archive)
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert zip_bytes(archive) == first
    assert _contents(first) == {"a.py": "A = 1\n", "b.py": "B = 2\n"}


def test_folders_and_archives_inside_archives_keep_their_paths(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.py").write_text("A = 1\n")
    archive = pulumi.AssetArchive({"lib": pulumi.FileArchive(str(tmp_path))})
    assert _contents(zip_bytes(archive)) == {"lib/deep/a.py": "A = 1\n"}
    assert source_files(archive) == [(tmp_path / "deep" / "a.py").resolve()]


def test_a_zip_file_is_used_unchanged(tmp_path: Path) -> None:
    content = zip_bytes(_archive(a="A = 1\n"))
    (tmp_path / "code.zip").write_bytes(content)
    assert zip_bytes(pulumi.FileArchive(str(tmp_path / "code.zip"))) == content


def test_a_missing_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"cannot read .*gone.py, which a code archive names: No such file"):
        zip_bytes(pulumi.AssetArchive({"gone.py": pulumi.FileAsset(tmp_path / "gone.py")}))


def test_a_remote_archive_is_refused() -> None:
    with pytest.raises(LocalError, match="RemoteArchive is not supported"):
        zip_bytes(pulumi.RemoteArchive("file:///code.zip"))


def test_a_handler_is_imported_with_its_environment() -> None:
    code = "import os\nassert os.environ['COLOUR'] == 'red'\ndef handler(event, context): ...\n"
    check_import(zip_bytes(_archive(app__main=code)), "app.main.handler", {"COLOUR": "red"}, [])
    with pytest.raises(LocalError, match=r"KeyError: 'COLOUR' \(app/main.py:2\)$"):
        check_import(zip_bytes(_archive(app__main=code)), "app.main.handler", {}, [])


def test_the_processor_that_a_handler_loads_later_is_imported() -> None:
    code = "def handler(event, context): ...\n"
    archive = zip_bytes(_archive(app__main=code, mine__broken="import nothing_of_this_name\ndef process(event): ...\n"))
    check_import(archive, "app.main.handler", {}, [])
    with pytest.raises(LocalError, match=r"nothing_of_this_name.*\(mine/broken.py:1\)$"):
        check_import(archive, "app.main.handler", {"PROCESSOR": "mine.broken:process"}, [])


@pytest.mark.parametrize(
    ("parameters", "fits"),
    [
        ("event", True),
        ("event, context", True),
        ("*given", True),
        ("event, retries=3", True),
        ("", False),
        ("event, context, more", False),
        ("event, *, context", False),
    ],
)
def test_a_processor_that_cannot_be_called_with_an_event_is_refused(parameters: str, fits: bool) -> None:  # noqa: FBT001
    archive = zip_bytes(_archive(main="def handler(event, context): ...\n", mine=f"def process({parameters}): ...\n"))
    said = f"process({parameters}) in mine: a processor is called with (event) or (event, context)"
    refused = pytest.raises(LocalError, match=re.escape(said))
    with contextlib.nullcontext() if fits else refused:
        check_import(archive, "main.handler", {"PROCESSOR": "mine:process"}, [])


def test_an_import_error_has_file_and_line() -> None:
    problem = _problem("main.handler", main="import other\n", other="\n\nimport no_such_module\n")
    assert problem == "cannot import main.handler: ModuleNotFoundError: No module named 'no_such_module' (other.py:3)"


def test_a_syntax_error_has_its_own_line() -> None:
    problem = _problem("main.handler", main="import other\n", other="x = 1\ndef broken(:\n")
    assert problem.startswith("cannot import main.handler: SyntaxError: ")
    assert problem.endswith("(other.py:2)")


def test_a_handler_missing_from_its_module_is_named_in_the_error() -> None:
    assert _problem("main.handler", main="") == "cannot import main.handler: main has no function 'handler'"


def test_a_module_that_exits_is_an_error() -> None:
    assert "SystemExit: 0 (main.py:1)" in _problem("main.handler", main="raise SystemExit(0)\n")


def test_a_module_that_kills_its_process_is_an_error() -> None:
    problem = _problem("main.handler", main="import os\nos._exit(7)\n")
    assert problem == "cannot import main.handler: the process ended with 7"


def test_a_handler_finds_the_sdk_and_the_packages_of_its_layers_and_no_other() -> None:
    # All of these are installed beside this test, and the project is on its path.
    for module in ("pydantic", "pulumi", "handlers", "pytest"):
        assert f"No module named '{module}' (main.py:1)" in _problem("main.handler", main=f"import {module}\n")
    code = "import boto3, botocore, dateutil, six, urllib3, aws_lambda_powertools\ndef handler(event, context): ...\n"
    assert "No module named 'aws_lambda_powertools'" in _problem("main.handler", main=code)
    check_import(zip_bytes(_archive(main=code)), "main.handler", {}, _dependencies())


def _dependencies() -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCAL_VARIABLE, "1")
        return layer_folders(layer_archive().read_bytes())
