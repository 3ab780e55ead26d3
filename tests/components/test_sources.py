"""The code of each function: what it imports, and nothing else."""

import ast
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pulumi
import pytest

from components import bytecode
from components.package import LOCAL_VARIABLE, ROOT
from components.runtime import say_if_not_compiled
from components.sources import Sources
from local.changes import changes
from local.code import zip_bytes
from local.recording import Graph, synthesise
from local.snapshot import plain, restored
from tests.graphs import SAMPLES, graph_of
from tests.handlers.test_imports import BUDGETS, LAMBDA

FILES = {f"{name}.json": "{}" for name in ("schemas", "columns", "thresholds", "silence", "schema", "form")}
# What the program writes, and the function that reads it.
READ = {
    "handlers.api.ingest": {"schemas.json"},
    "handlers.csv.worker": {"columns.json"},
    "handlers.iot.worker": {"thresholds.json", "silence.json", "schema.json", "form.json"},
    "handlers.iot.watcher": {"silence.json"},
}


@pytest.fixture(autouse=True)
def _for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCAL_VARIABLE, "1")


def archive_of(module: str, *folders: str) -> pulumi.AssetArchive:
    return Sources(FILES, folders).archive(f"{module}.handler")


def paths_of(archive: pulumi.AssetArchive) -> dict[str, Path]:
    return {name: Path(asset.path) for name, asset in archive.assets.items() if isinstance(asset, pulumi.FileAsset)}


@pytest.mark.parametrize("module", BUDGETS)
def test_every_module_in_a_function_s_code_can_be_imported_from_it_alone(module: str, tmp_path: Path) -> None:
    """Each import inside a function is the import of a module here, so that none of them can fail on Lambda."""
    for name, path in paths_of(archive_of(module)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(path.read_bytes())
    modules = [name.removesuffix(".py").replace("/", ".") for name in paths_of(archive_of(module))]
    imported = {
        each
        for name in paths_of(archive_of(module))
        for each in _imported((tmp_path / name).read_text(encoding="utf-8"))
    }
    code = (
        f"import importlib, importlib.util as util, sys\nsys.path[:0] = [{str(tmp_path)!r}]\n"
        f"for each in {sorted(modules)!r}: importlib.import_module(each)\n"
        f"assert {sorted(imported)!r} == [each for each in {sorted(imported)!r} if util.find_spec(each)]\n"
        f"own = [each.__file__ for name, each in sys.modules.items() if name.startswith('handlers.')]\n"
        f"assert all(each.startswith({str(tmp_path)!r}) for each in own), own\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env={**LAMBDA, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _imported(text: str) -> set[str]:
    """The modules of ours that a source imports for more than type checkers."""
    found = set()
    tree = ast.parse(text)
    unneeded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("handlers") and id(node) not in unneeded:
            found.add(node.module or "")
    return found


def test_only_the_processor_is_imported_by_a_name_that_no_source_shows() -> None:
    """Modules are found in the sources, so a name that is made at run time would be missed."""
    found = {
        path.name
        for path in (ROOT / "handlers").rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("import_module(", "__import__(", "exec("))
    }
    assert found == {"processing.py"}


@pytest.mark.parametrize("module", BUDGETS)
def test_a_function_has_no_other_room_and_only_the_written_files_that_it_reads(module: str) -> None:
    names = set(archive_of(module).assets)
    rooms = {name.split("/")[1] for name in names if name.startswith("handlers/") and name.count("/") > 1}
    assert rooms == {module.split(".")[1], "shared"}
    assert names & FILES.keys() == READ.get(module, set())
    assert not {name for name in names if name.startswith("processors/")}


def test_a_function_does_not_have_the_modules_of_its_neighbours() -> None:
    assert "handlers/api/ingest.py" not in archive_of("handlers.api.worker").assets
    assert "handlers/api/worker.py" not in archive_of("handlers.api.ingest").assets
    assert "handlers/csv/parquet.py" not in archive_of("handlers.csv.redrive").assets


def test_a_processor_s_folder_is_packaged_whole_with_what_it_imports_of_the_handlers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "code/b.py": "try:\n    from handlers.iot import contents\nexcept ImportError:\n    pass\n",
        "code/a/c.py": "",
        "code/broken.py": "def :",
        "code/latin.py": "# \xe9",
        "code/rates.json": "",
        "code/__pycache__/b.pyc": "",
        "code/.env": "",
        "code/requirements.txt": "",
        "other/d.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    archive = archive_of("handlers.api.redrive", "code")
    own = [name for name in archive.assets if not name.startswith("handlers/")]
    assert own == ["code/a/c.py", "code/b.py", "code/broken.py", "code/latin.py", "code/rates.json"]
    assert {"handlers/iot/contents.py", "handlers/iot/__init__.py"} <= archive.assets.keys()
    assert paths_of(archive)["code/b.py"] == Path("code/b.py")
    assert all(path.resolve().is_file() and not path.is_absolute() for path in paths_of(archive).values())


# Compiled


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Functions run this machine's Python, on AWS."""
    monkeypatch.delenv(LOCAL_VARIABLE)
    monkeypatch.setattr(bytecode, "RUNTIME", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    monkeypatch.setattr(bytecode, "BUILD_FOLDER", tmp_path / "build")


@pytest.mark.usefixtures("here")
def test_each_module_is_compiled_beside_its_source_and_read_whatever_the_time_of_the_file(tmp_path: Path) -> None:
    archive = archive_of("handlers.iot.watcher")
    paths = paths_of(archive)
    tag = sys.implementation.cache_tag
    sources = [Path(name) for name in paths if name.endswith(".py")]
    compiled = {str(each.parent / "__pycache__" / f"{each.stem}.{tag}.pyc") for each in sources}
    assert set(paths) == {*map(str, sources), *compiled}
    for name, path in paths.items():
        (tmp_path / "task" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "task" / name).write_bytes(path.read_bytes())
        os.utime(tmp_path / "task" / name, (0, 0))
    code = f"""
import sys
from importlib.machinery import SourceFileLoader
sys.path[:0] = [{str(tmp_path / "task")!r}]
compiled_anew, compile_source = [], SourceFileLoader.source_to_code
def noted(self, data, path, **options):
    compiled_anew.append(path)
    return compile_source(self, data, path, **options)
SourceFileLoader.source_to_code = noted
from handlers.iot import watcher
print([each for each in compiled_anew if "handlers" in each], watcher.handler.__code__.co_filename)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], env=LAMBDA, capture_output=True, text=True, check=True)
    # The place of a module is where it lies: the loader corrects what the compiler wrote.
    assert done.stdout == f"[] {tmp_path / 'task'}/handlers/iot/watcher.py\n"


@pytest.mark.usefixtures("here")
def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = zip_bytes(archive_of("handlers.api.worker"))
    monkeypatch.setattr(bytecode, "BUILD_FOLDER", tmp_path / "elsewhere" / "deeper")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert zip_bytes(archive_of("handlers.api.worker")) == first
    assert str(tmp_path).encode() not in b"".join(
        path.read_bytes() for name, path in paths_of(archive_of("handlers.api.worker")).items() if "__pycache__" in name
    )


@pytest.mark.usefixtures("here")
def test_a_file_with_a_syntax_error_is_packaged_without_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/broken.py").write_text("def :")
    (tmp_path / "code/whole.py").write_text("")
    monkeypatch.chdir(tmp_path)
    own = {name for name in archive_of("handlers.iot.watcher", "code").assets if name.startswith("code/")}
    assert own == {"code/broken.py", "code/whole.py", f"code/__pycache__/whole.{sys.implementation.cache_tag}.pyc"}


@pytest.mark.parametrize("runtime", ["python3.2", "python4.0"])
def test_another_python_compiles_nothing_and_says_so(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOCAL_VARIABLE)
    monkeypatch.setattr(bytecode, "RUNTIME", runtime)
    assert not [name for name in archive_of("handlers.iot.watcher").assets if name.endswith(".pyc")]
    said = bytecode.why_not() or ""
    assert f"functions run CPython {runtime.removeprefix('python')}" in said
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    say_if_not_compiled()
    assert told == [said]
    monkeypatch.setenv(LOCAL_VARIABLE, "1")
    say_if_not_compiled()
    assert told == [said]


# The graph


def snapshot(graph: Graph, project: Path = SAMPLES) -> Graph:
    """A graph whose code is its digest."""
    # The archives' paths are relative to the project.
    with contextlib.chdir(project):
        snapshot: Graph = restored(plain(graph), graph.region)
    return snapshot


def test_a_changed_schema_updates_the_one_function_that_reads_it_in_place() -> None:
    before, after = (snapshot(graph_of("dev", config)) for config in ({}, {"api": {"schemas": ["purchase"]}}))
    found = {(each.action, each.type, each.name) for each in changes(before, after)}
    assert found == {("change", "aws:lambda/function:Function", "pipeline-ingest")}


def test_a_changed_processor_updates_the_functions_that_run_it_in_place(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "project", ignore=shutil.ignore_patterns(".pipeline", "__pycache__"))
    shutil.copy(ROOT / "__main__.py", tmp_path / "project")
    (tmp_path / "project/processors/more.py").write_text("VALUE = 1\n")
    after = snapshot(synthesise(tmp_path / "project", "ingestion"), tmp_path / "project")
    found = {(each.action, each.type, each.name) for each in changes(snapshot(graph_of("ingestion")), after)}
    names = ("pipeline-breaker", "pipeline-worker")
    assert found == {("change", "aws:lambda/function:Function", name) for name in names}
