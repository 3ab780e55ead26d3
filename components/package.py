"""What is uploaded: the archive with the functions' code, and the layer with the packages they import."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pulumi

ROOT = Path(__file__).parents[1]
BUILD_FOLDER = ROOT / ".build"
REQUIREMENTS = Path("handlers/requirements.txt")

RUNTIME = "python3.13"
ARCHITECTURE = "arm64"

# What the functions run on, in pip's words: Lambda's arm64 is Linux's aarch64, and every Amazon Linux has the libraries
# that manylinux2014 asks for.
PLATFORM = "manylinux2014_aarch64"
_PIP_OPTIONS = (
    *("--platform", PLATFORM, "--implementation", "cp", "--python-version", RUNTIME.removeprefix("python")),
    # Nothing that the requirements file does not name and hash, nothing that would be compiled on this machine.
    *("--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile"),
)
# pip's notes about the installation. RECORD holds hashes of the scripts, and these name the Python of this machine.
_NOTES_OF_PIP = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
_NO_TIME = (1980, 1, 1, 0, 0, 0)


class PackageError(pulumi.RunError):
    """The layer could not be built, or the archive to use instead is not there. One line, also on Pulumi's screen."""


def source_archive(*folders: str, extra: Mapping[str, str]) -> pulumi.AssetArchive:
    """The Python files below `folders` (relative to the project) under their own paths, and `extra` (path: text)."""
    files = sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))
    # Relative to the working directory, where Pulumi looks: its state would hold this machine's paths otherwise.
    assets: dict[str, pulumi.Asset | pulumi.Archive] = {
        path.as_posix(): pulumi.FileAsset(os.path.relpath(ROOT / path)) for path in files
    }
    return pulumi.AssetArchive(assets | {path: pulumi.StringAsset(text) for path, text in sorted(extra.items())})


def dependency_layer(requirements: Path = REQUIREMENTS, build_folder: Path = BUILD_FOLDER) -> pulumi.FileArchive:
    """The zip of a Lambda layer with `requirements` (relative to the project; pinned, with hashes).

    It is built once for the same requirements, and the same requirements give the same bytes. The environment variable
    PIPELINE_LAYER_ARCHIVE names an already built zip to use instead. Raises `PackageError`.
    https://docs.aws.amazon.com/lambda/latest/dg/python-layers.html
    """
    if given := os.environ.get("PIPELINE_LAYER_ARCHIVE"):
        if not Path(given).is_file():
            raise PackageError(f"PIPELINE_LAYER_ARCHIVE={given}: no such file; name a zip or leave the variable out")
        return pulumi.FileArchive(given)
    requirements = ROOT / requirements
    inputs = hashlib.sha256(repr(_PIP_OPTIONS).encode() + requirements.read_bytes())
    archive = build_folder / f"layer-{inputs.hexdigest()[:16]}.zip"
    if not archive.exists():
        build_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=build_folder) as temporary:
            packages, unfinished = Path(temporary, "packages"), Path(temporary, "layer.zip")
            _install(requirements, packages)
            _write_zip(packages, unfinished)
            unfinished.replace(archive)
    return pulumi.FileArchive(os.path.relpath(archive))


def _install(requirements: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [*_PIP_OPTIONS, "--target", str(target), "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words only
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.splitlines()[-3:])
        raise PackageError(f"{os.path.relpath(requirements)}: pip could not install it for the layer: {said}")
    # Commands are of no use in a function, and their first line names the Python of this machine.
    shutil.rmtree(target / "bin", ignore_errors=True)


def _write_zip(packages: Path, archive: Path) -> None:
    # Stored, not compressed: what a compressor makes of the same bytes differs between versions of zlib.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as layer:
        for path in sorted(packages.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts or path.name in _NOTES_OF_PIP:
                continue
            entry = zipfile.ZipInfo(f"python/{path.relative_to(packages).as_posix()}", _NO_TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on Windows too
            layer.writestr(entry, path.read_bytes())
