"""`pipeline package`, on a program with functions and layers of its own: the shipped layer would be downloaded."""

import json
import zipfile
from pathlib import Path

import pytest

from components import bytecode

from .conftest import Command

PROGRAM = """
import pulumi, pulumi_aws as aws
layer = aws.lambda_.LayerVersion("tools", layer_name="tools", code=pulumi.FileArchive("layer.zip"))
large = aws.s3.BucketObjectv2("large", bucket="bucket", key="layers/large.zip", source=pulumi.FileArchive("large.zip"))
other = aws.lambda_.LayerVersion("other", layer_name="other", s3_bucket="bucket", s3_key="layers/large.zip")
code = pulumi.AssetArchive({
    "app.py": pulumi.StringAsset("x" * 2_000), "__pycache__/app.cpython-313.pyc": pulumi.StringAsset("y" * 3_000),
    "small.json": pulumi.StringAsset("{}"),
})
for name, layers in (("b", [layer.arn, other.arn]), ("a", None)):
    aws.lambda_.Function(name, role="arn:aws:iam::123456789012:role/r", handler="app.f", runtime="python3.13",
                         code=code, layers=layers)
"""


@pytest.fixture
def project(small_project: Path) -> Path:
    for file, name, text in (("layer", "python/tiny.py", "t" * 1_500), ("large", "python/big/deep/b.py", "b" * 9_000)):
        with zipfile.ZipFile(small_project / f"{file}.zip", "w") as archive:
            archive.writestr(name, text)
    (small_project / "__main__.py").write_text(PROGRAM)
    (small_project / "below").mkdir()
    return small_project


def test_sizes_are_those_of_code_and_layers_and_a_compiled_module_counts_with_its_source(
    project: Path, pipeline: Command
) -> None:
    found = json.loads(pipeline("package", "--json", cwd=project / "below").stdout)
    assert found["not_compiled"] == bytecode.why_not()
    first, second = found["functions"]
    assert (first["function"], second["function"]) == ("a", "b")
    assert first["code_unpacked_bytes"] == second["code_unpacked_bytes"] == 5_002
    assert 0 < first["code_bytes"] < 2_000
    assert (first["layers_bytes"], first["layers_unpacked_bytes"], first["heaviest_packages"]) == (0, 0, [])
    assert second["layers_unpacked_bytes"] == 10_500
    archives = sum((project / f"{name}.zip").stat().st_size for name in ("layer", "large"))
    assert second["layers_bytes"] == archives
    assert first["heaviest_files"] == [
        {"name": "app.py", "unpacked_bytes": 5_000},
        {"name": "small.json", "unpacked_bytes": 2},
    ]
    assert second["heaviest_packages"] == [
        {"name": "big", "unpacked_bytes": 9_000},
        {"name": "tiny", "unpacked_bytes": 1_500},
    ]


def test_the_tables_show_each_function_what_weighs_most_and_why_nothing_is_compiled(
    project: Path, pipeline: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "RUNTIME", "python3.2")
    shown = pipeline("package", cwd=project).stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["b", "0", "5", "11", "10"] in rows
    assert ["big", "9", "1"] in rows
    assert ["app.py", "5", "2"] in rows
    assert "functions run CPython 3.2" in shown


def test_a_stack_without_functions_has_empty_tables(small_project: Path, pipeline: Command) -> None:
    assert json.loads(pipeline("package", "--json", cwd=small_project).stdout)["functions"] == []
    assert pipeline("package", cwd=small_project).exit_code == 0
