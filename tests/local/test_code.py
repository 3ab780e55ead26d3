"""Code archives, and the check that a handler can be imported from its archive alone."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pulumi
import pytest

from local.code import check_import, source_files, zip_bytes
from local.errors import LocalError


def _archive(**files: str) -> pulumi.AssetArchive:
    return pulumi.AssetArchive(
        {name.replace("__", "/") + ".py": pulumi.StringAsset(text) for name, text in files.items()}
    )


def _contents(code: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def _problem(handler: str, project: Path, **files: str) -> str:
    with pytest.raises(LocalError) as raised:
        check_import(zip_bytes(_archive(**files)), handler, {"COLOUR": "red"}, project)
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


def test_a_handler_is_imported_with_its_environment(tmp_path: Path) -> None:
    code = "import os\nassert os.environ['COLOUR'] == 'red'\ndef handler(event, context): ...\n"
    check_import(zip_bytes(_archive(app__main=code)), "app.main.handler", {"COLOUR": "red"}, tmp_path)
    with pytest.raises(LocalError, match=r"KeyError: 'COLOUR' \(app/main.py:2\)$"):
        check_import(zip_bytes(_archive(app__main=code)), "app.main.handler", {}, tmp_path)


def test_the_processor_that_a_handler_loads_later_is_imported(tmp_path: Path) -> None:
    code = "def handler(event, context): ...\n"
    archive = zip_bytes(_archive(app__main=code, mine__broken="import nothing_of_this_name\ndef process(event): ...\n"))
    check_import(archive, "app.main.handler", {}, tmp_path)
    with pytest.raises(LocalError, match=r"nothing_of_this_name.*\(mine/broken.py:1\)$"):
        check_import(archive, "app.main.handler", {"PROCESSOR": "mine.broken:process"}, tmp_path)


def test_an_import_error_has_file_and_line(tmp_path: Path) -> None:
    problem = _problem("main.handler", tmp_path, main="import other\n", other="\n\nimport no_such_module\n")
    assert problem == "cannot import main.handler: ModuleNotFoundError: No module named 'no_such_module' (other.py:3)"


def test_a_syntax_error_has_its_own_line(tmp_path: Path) -> None:
    problem = _problem("main.handler", tmp_path, main="import other\n", other="x = 1\ndef broken(:\n")
    assert problem.startswith("cannot import main.handler: SyntaxError: ")
    assert problem.endswith("(other.py:2)")


def test_a_handler_missing_from_its_module_is_named_in_the_error(tmp_path: Path) -> None:
    assert _problem("main.handler", tmp_path, main="") == "cannot import main.handler: main has no function 'handler'"


def test_a_module_that_exits_is_an_error(tmp_path: Path) -> None:
    assert "SystemExit: 0 (main.py:1)" in _problem("main.handler", tmp_path, main="raise SystemExit(0)\n")


def test_a_module_that_kills_its_process_is_an_error(tmp_path: Path) -> None:
    problem = _problem("main.handler", tmp_path, main="import os\nos._exit(7)\n")
    assert problem == "cannot import main.handler: the process ended with 7"


def test_a_module_missing_from_the_archive_is_not_imported_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import handlers\ndef handler(event, context): ...\n")
    root = Path(__file__).parents[2]
    assert (root / "handlers").is_dir()
    # An editable install has the project's root on the path, as this has.
    script = "import sys; sys.path.append(sys.argv[3]); from local.import_check import main; print(main(*sys.argv[1:]))"

    def check(project: Path) -> str:
        arguments = [sys.executable, "-c", script, str(tmp_path), "main.handler", str(project)]
        environment = {**os.environ, "PYTHONPATH": ""}
        result = subprocess.run(arguments, cwd=root, env=environment, capture_output=True, text=True, check=True)
        return result.stdout.strip()

    assert check(root) == "ModuleNotFoundError: No module named 'handlers' (main.py:1)"
