"""Layers: their packages are tiny wheels made here, nothing is downloaded."""

import hashlib
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from components import bytecode, layers
from components.layers import (
    LAMBDA,
    PLATFORMS,
    REQUIREMENTS,
    import_names,
    layer_archive,
    unpacked_bytes,
)
from components.package import ARCHITECTURE, LOCAL_VARIABLE
from components.requirements import PackageError, read_requirements


@pytest.fixture(autouse=True)
def _another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions run another Python than this machine's, whichever that is: nothing is compiled."""
    monkeypatch.setattr(bytecode, "RUNTIME", "python3.2")


def wheel(folder: Path, version: str = "1.0", text: str = "") -> Path:
    """A wheel with one module and one command, which pip writes with the path of its own Python inside."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tiny-{version}-py3-none-any.whl"
    notes = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", f"VERSION = {version!r}\n{text}")
        archive.writestr("__pycache__/tiny.cpython-313.pyc", b"compiled elsewhere")
        archive.writestr(f"{notes}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{notes}/entry_points.txt", "[console_scripts]\ntiny = tiny:main\n")
        archive.writestr(f"{notes}/RECORD", "")
    return path


def requirements(folder: Path, version: str = "1.0", digest: str | None = None, text: str = "") -> Path:
    path = wheel(folder, version, text)
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    file = folder / "requirements.txt"
    file.write_text(f"--no-index\n--find-links {folder}\ntiny=={version} --hash=sha256:{digest}\n", encoding="utf-8")
    return file


def built(requirements_file: Path, folder: Path, *, base: Path | None = None, local: bool = False) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "BUILD_FOLDER", folder)
        patch.delenv(LOCAL_VARIABLE, raising=False)
        if local:
            patch.setenv(LOCAL_VARIABLE, "1")
        return layer_archive(requirements_file, base)


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
        built(file, tmp_path / "build")
    assert "\n" not in str(raised.value)
    assert "0" * 64 in str(raised.value)
    assert list((tmp_path / "build").iterdir()) == []


@pytest.mark.parametrize(
    ("local", "place"), [(False, "python3.13 on arm64 Linux with glibc 2.34"), (True, "this machine's Python")]
)
def test_a_package_without_a_wheel_for_the_place_is_refused_and_told_why(
    tmp_path: Path,
    local: bool,  # noqa: FBT001
    place: str,
) -> None:
    file = requirements(tmp_path)
    wheel(tmp_path).rename(tmp_path / "tiny-1.0-cp39-cp39-win_amd64.whl")
    with pytest.raises(PackageError, match="tiny==1.0.* A layer is made of wheels, and there is none for " + place):
        built(file, tmp_path / "build", local=local)


def test_a_requirement_without_a_hash_is_refused(tmp_path: Path) -> None:
    file = requirements(tmp_path)
    file.write_text(file.read_text(encoding="utf-8").partition(" --hash")[0], encoding="utf-8")
    with pytest.raises(
        PackageError, match=r"requirements\.txt: tiny==1\.0 must be pinned to one version with its hashes: write"
    ):
        built(file, tmp_path / "build")


def test_the_layer_takes_wheels_for_amazon_linux_2023_on_the_architecture_of_the_functions() -> None:
    assert ARCHITECTURE == "arm64"
    assert (PLATFORMS[0], PLATFORMS[-1]) == ("manylinux_2_34_aarch64", "manylinux2014_aarch64")
    assert "manylinux_2_28_aarch64" in PLATFORMS


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
    assert [each.name for each in read_requirements(file, LAMBDA).packages] == ["tiny"] * kept
    with zipfile.ZipFile(built(file, tmp_path / "build")) as layer:
        assert ("python/tiny.py" in layer.namelist()) == kept


def test_a_layer_is_compressed(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(requirements(tmp_path), tmp_path / "build")) as layer:
        assert {entry.compress_type for entry in layer.infolist()} == {zipfile.ZIP_DEFLATED}


def test_packages_that_lambda_does_not_take_are_an_error_that_names_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LARGEST_UNPACKED_BYTES", 10)
    with pytest.raises(
        PackageError, match=r"unpacked, and Lambda takes 0 MB with the code; the largest are tiny"
    ) as raised:
        built(requirements(tmp_path), tmp_path / "build")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "build").iterdir()) == []


# Beside the pipeline's own packages


def beside(folder: Path, name: str, version: str, text: str = "") -> Path:
    """A requirements file of a team, with a package `other` of one module, and `tiny` in a version."""
    folder.mkdir()
    base = requirements(folder / "base")
    wheel(folder, version)
    other = folder / "other-2.0-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other/__init__.py", text)
        archive.writestr("other-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 2.0\n")
        archive.writestr("other-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("other-2.0.dist-info/RECORD", "")
    hashes = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.glob("*.whl")}
    lines = [
        "--no-index",
        f"--find-links {folder}",
        f"other==2.0 --hash=sha256:{hashes[other.name]}",
        f"{name}=={version} --hash=sha256:{hashes[f'tiny-{version}-py3-none-any.whl']}",
    ]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return base


def test_a_second_layer_has_what_the_first_has_not(tmp_path: Path) -> None:
    base = beside(tmp_path / "team", "Tiny", "1.0")
    archive = built(tmp_path / "team" / "requirements.txt", tmp_path / "build", base=base)
    assert import_names(archive) == {"other"}
    assert import_names(built(base, tmp_path / "build")) == {"tiny"}


def test_a_second_layer_with_another_version_of_a_package_is_refused(tmp_path: Path) -> None:
    base = beside(tmp_path / "team", "tiny", "1.1")
    with pytest.raises(
        PackageError,
        match=r"team/requirements\.txt: tiny==1\.1 is tiny==1\.0 in .*base/requirements\.txt.*pin the same",
    ):
        built(tmp_path / "team" / "requirements.txt", tmp_path / "build", base=base)


def test_both_layers_together_are_what_lambda_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = beside(tmp_path / "team", "tiny", "1.0", text="x" * 10_000)
    allowed = unpacked_bytes(built(base, tmp_path / "build")) + 10_000
    monkeypatch.setattr(layers, "LARGEST_UNPACKED_BYTES", allowed)
    with pytest.raises(PackageError, match=r"unpacked beside .* of the pipeline's own, .* the largest are other"):
        built(tmp_path / "team" / "requirements.txt", tmp_path / "build", base=base)


@pytest.mark.parametrize("line", ["tiny", "tiny>=1.0", "tiny==1.*", "tiny==1.0,<2"])
def test_a_requirement_that_is_not_pinned_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"{line} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(PackageError, match="must be pinned to one version with its hashes"):
        read_requirements(file)


@pytest.mark.parametrize("line", ["-e .", "-r other.txt", "-c other.txt", "--editable .", "--no-binary :all:", "--pre"])
def test_a_file_that_installs_what_it_does_not_name_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"{line}\n")
    with pytest.raises(PackageError, match="names packages itself, each with its hashes"):
        read_requirements(file)


def test_a_package_that_stands_twice_is_refused_unless_markers_tell_the_two_apart(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    digest = f"--hash=sha256:{'0' * 64}"
    file.write_text(f"six==1.0 {digest}\nSix==2.0 {digest}\n")
    with pytest.raises(PackageError, match="six stands twice"):
        read_requirements(file)
    file.write_text(f"six==1.0 ; python_version < '3.12' {digest}\nsix==2.0 ; python_version >= '3.12' {digest}\n")
    assert [each.version for each in read_requirements(file, LAMBDA).packages] == ["2.0"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_requirement(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"\xef\xbb\xbfsix==1.0 \\\r\n    --hash=sha256:" + b"0" * 64 + b"\r\n")
    assert [(each.name, each.version) for each in read_requirements(file).packages] == [("six", "1.0")]


def test_a_file_that_is_not_text_or_no_requirement_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PackageError, match="cannot be read"):
        read_requirements(file)
    file.write_text("[project]\nname = 'x'\n")
    with pytest.raises(PackageError, match=r"'\[project\]' is no requirement"):
        read_requirements(file)


# On this machine


def test_a_local_layer_leads_to_the_installed_packages_of_its_file_and_to_no_other(tmp_path: Path) -> None:
    archive = built(REQUIREMENTS, tmp_path / "build", local=True)
    names = {"aws_lambda_powertools", "fastjsonschema", "isal", "jmespath", "typing_extensions"}
    assert import_names(archive) == names
    assert built(REQUIREMENTS, tmp_path / "build", local=True) == archive


def test_a_local_layer_downloads_what_is_not_installed(tmp_path: Path) -> None:
    base = beside(tmp_path / "team", "tiny", "1.0")
    archive = built(tmp_path / "team" / "requirements.txt", tmp_path / "build", base=base, local=True)
    assert import_names(archive) == {"other"}


# Compiled


@pytest.fixture
def own_python(monkeypatch: pytest.MonkeyPatch) -> str:
    """Functions run this machine's Python. Returns the tag of its compiled modules."""
    monkeypatch.setattr(bytecode, "RUNTIME", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return str(sys.implementation.cache_tag)


def test_the_packages_of_a_layer_are_compiled_and_the_same_requirements_give_the_same_bytes(
    tmp_path: Path, own_python: str
) -> None:
    file = requirements(tmp_path)
    first, second = built(file, tmp_path / "a"), built(file, tmp_path / "b" / "deeper")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as layer:
        compiled = {name: layer.read(name) for name in layer.namelist() if name.endswith(".pyc")}
    # That of the wheel was made by somebody else.
    assert list(compiled) == [f"python/__pycache__/tiny.{own_python}.pyc"]
    (content,) = compiled.values()
    # Unchecked: https://peps.python.org/pep-0552/
    assert (content[:4], content[4:8]) == (MAGIC_NUMBER, b"\1\0\0\0")
    assert b"/opt/python/tiny.py" in content
    assert str(tmp_path).encode() not in content


@pytest.mark.usefixtures("own_python")
def test_a_layer_that_is_too_large_with_its_compiled_modules_goes_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = requirements(tmp_path, text="".join(f"def number_{each}(): return {each}\n" for each in range(100)))
    whole = unpacked_bytes(built(file, tmp_path / "a"))
    monkeypatch.setattr(layers, "LARGEST_UNPACKED_BYTES", whole - 2_000)
    with zipfile.ZipFile(built(file, tmp_path / "b")) as layer:
        names = layer.namelist()
    assert "python/tiny.py" in names
    assert not [name for name in names if name.endswith(".pyc")]


@pytest.mark.usefixtures("own_python")
def test_a_compiled_layer_is_another_one_than_that_of_a_python_that_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = requirements(tmp_path)
    compiled = built(file, tmp_path / "build")
    monkeypatch.setattr(bytecode, "RUNTIME", "python3.2")
    assert built(file, tmp_path / "build") != compiled
