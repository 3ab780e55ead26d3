"""The code archive and the dependency layer; the layer's packages are tiny wheels made here, nothing is downloaded."""

import hashlib
import zipfile
from pathlib import Path

import pulumi
import pytest

from components import package
from components.package import ARCHITECTURE, PackageError, dependency_layer, source_archive


@pytest.fixture(autouse=True)
def no_archive_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_LAYER_ARCHIVE", raising=False)


def wheel(folder: Path, version: str = "1.0") -> Path:
    """A wheel with one module and one command, which pip writes with the path of its own Python inside."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny-{version}-py3-none-any.whl"
    notes = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", f"VERSION = {version!r}\n")
        archive.writestr("__pycache__/tiny.cpython-313.pyc", b"compiled elsewhere")
        archive.writestr(f"{notes}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{notes}/entry_points.txt", "[console_scripts]\ntiny = tiny:main\n")
        archive.writestr(f"{notes}/RECORD", "")
    return path


def requirements(folder: Path, version: str = "1.0", digest: str | None = None) -> Path:
    path = wheel(folder, version)
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    file = folder / "requirements.txt"
    file.write_text(f"--no-index\n--find-links {folder}\ntiny=={version} --hash=sha256:{digest}\n", encoding="utf-8")
    return file


def built(requirements_file: Path, folder: Path) -> Path:
    return Path(dependency_layer(requirements_file, folder).path)


def test_the_same_requirements_give_the_same_bytes_in_another_folder(tmp_path: Path) -> None:
    file = requirements(tmp_path)
    first, second = built(file, tmp_path / "a"), built(file, tmp_path / "b" / "deeper")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_the_layer_holds_the_packages_below_python_and_nothing_of_this_machine(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(requirements(tmp_path), tmp_path / "build")) as layer:
        names = layer.namelist()
    notes = "python/tiny-1.0.dist-info"
    assert names == [f"{notes}/METADATA", f"{notes}/WHEEL", f"{notes}/entry_points.txt", "python/tiny.py"]


def test_a_changed_requirement_is_another_layer_beside_the_first(tmp_path: Path) -> None:
    first = built(requirements(tmp_path), tmp_path / "build")
    second = built(requirements(tmp_path, "1.1"), tmp_path / "build")
    assert first.name != second.name
    assert first.exists()


def test_a_built_layer_is_used_again(tmp_path: Path) -> None:
    file = requirements(tmp_path)
    first = built(file, tmp_path / "build")
    (tmp_path / "tiny-1.0-py3-none-any.whl").unlink()
    assert built(file, tmp_path / "build") == first


def test_a_wheel_with_another_hash_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    file = requirements(tmp_path, digest="0" * 64)
    with pytest.raises(PackageError, match=r"requirements\.txt: pip could not install it for the layer: .*") as raised:
        dependency_layer(file, tmp_path / "build")
    assert "\n" not in str(raised.value)
    assert "0" * 64 in str(raised.value)
    assert list((tmp_path / "build").iterdir()) == []


def test_a_requirement_without_a_hash_is_refused(tmp_path: Path) -> None:
    file = requirements(tmp_path)
    file.write_text(file.read_text(encoding="utf-8").partition(" --hash")[0], encoding="utf-8")
    with pytest.raises(PackageError, match="hash"):
        dependency_layer(file, tmp_path / "build")


def test_an_archive_named_in_the_environment_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "given.zip"
    given.touch()
    monkeypatch.setenv("PIPELINE_LAYER_ARCHIVE", str(given))
    assert dependency_layer(Path("no-such-file"), tmp_path / "build").path == str(given)


def test_an_archive_named_in_the_environment_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_LAYER_ARCHIVE", "no-such.zip")
    with pytest.raises(PackageError, match=r"PIPELINE_LAYER_ARCHIVE=no-such\.zip: no such file"):
        dependency_layer(Path("handlers/requirements.txt"))


def test_the_layer_takes_wheels_for_amazon_linux_2023_on_the_architecture_of_the_functions() -> None:
    assert ARCHITECTURE == "arm64"
    assert (package.PLATFORMS[0], package.PLATFORMS[-1]) == ("manylinux_2_34_aarch64", "manylinux2014_aarch64")
    assert "manylinux_2_28_aarch64" in package.PLATFORMS


@pytest.mark.parametrize(
    ("marker", "kept"),
    [
        ("python_version >= '3.13'", True),
        ("python_version < '3.13'", False),
        ("python_full_version < '3.12.4'", False),
        ("platform_machine == 'aarch64' and sys_platform == 'linux'", True),
        ("platform_machine == 'x86_64'", False),
        ("sys_platform == 'win32'", False),
    ],
)
def test_markers_are_those_of_the_place_where_functions_run(tmp_path: Path, marker: str, kept: bool) -> None:  # noqa: FBT001
    file = requirements(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("tiny==1.0 --hash", f"tiny==1.0 ; {marker} \\\n    --hash"), encoding="utf-8")
    assert ("tiny==1.0" in package._for_target(file)) == kept
    with zipfile.ZipFile(built(file, tmp_path / "build")) as layer:
        assert ("python/tiny.py" in layer.namelist()) == kept


def test_a_layer_is_compressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(requirements(tmp_path), tmp_path / "build")) as layer:
        assert {entry.compress_type for entry in layer.infolist()} == {zipfile.ZIP_DEFLATED}


def test_packages_that_lambda_does_not_take_are_an_error_that_names_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "LARGEST_UNPACKED_BYTES", 10)
    with pytest.raises(
        PackageError, match=r"unpacked, and Lambda takes 0 MB with the code; the largest are tiny"
    ) as raised:
        dependency_layer(requirements(tmp_path), tmp_path / "build")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "build").iterdir()) == []


def test_the_code_is_every_file_of_the_folders_in_order_and_what_is_added(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("code/b.py", "code/a/c.py", "code/rates.json", "code/__pycache__/b.pyc", "code/.env", "more/d.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(package, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assets = source_archive("more", "code", extra={"schemas.json": "{}"}).assets
    assert list(assets) == ["code/a/c.py", "code/b.py", "code/rates.json", "more/d.py", "schemas.json"]
    assert [asset.path for asset in assets.values() if isinstance(asset, pulumi.FileAsset)] == list(assets)[:4]
    assert [asset.text for asset in assets.values() if isinstance(asset, pulumi.StringAsset)] == ["{}"]
