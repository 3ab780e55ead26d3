"""What is uploaded: the archive with the functions' code, and the layer with the packages they import."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pulumi
from packaging.requirements import InvalidRequirement, Requirement

ROOT = Path(__file__).parents[1]
BUILD_FOLDER = ROOT / ".build"
REQUIREMENTS = Path("handlers/requirements.txt")

RUNTIME = "python3.13"
ARCHITECTURE = "arm64"

# Wheels that Lambda's Amazon Linux 2023 takes: its glibc is 2.34, and wheels for an older one run on it.
# https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
_GLIBC_MINOR = 34
PLATFORMS = (
    *(f"manylinux_2_{minor}_aarch64" for minor in range(_GLIBC_MINOR, 16, -1)),
    "manylinux2014_aarch64",
)
_PIP_OPTIONS = (
    *(word for platform in PLATFORMS for word in ("--platform", platform)),
    *("--implementation", "cp", "--python-version", RUNTIME.removeprefix("python")),
    # Nothing that the requirements file does not name and hash, nothing that would be compiled on this machine.
    *("--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile"),
)
# pip evaluates markers for the Python that it runs on, so they are evaluated here, for the functions'.
# https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers
_TARGET = {
    "implementation_name": "cpython",
    "implementation_version": f"{RUNTIME.removeprefix('python')}.0",
    "os_name": "posix",
    "platform_machine": "aarch64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": f"{RUNTIME.removeprefix('python')}.0",
    "python_version": RUNTIME.removeprefix("python"),
    "sys_platform": "linux",
    "extra": "",
}
# Of a function's code and layers together, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LARGEST_UNPACKED_BYTES = 250 * 2**20
# pip's notes about the installation. RECORD holds hashes of the scripts, and these name the Python of this machine.
_NOTES_OF_PIP = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
_NO_TIME = (1980, 1, 1, 0, 0, 0)
# What the layer is built from is no part of the code.
_NOT_PACKAGED = {"requirements.in", "requirements.txt"}


class PackageError(pulumi.RunError):
    """The layer could not be built, or the archive to use instead is not there. One line, also on Pulumi's screen."""


def source_archive(*folders: str, extra: Mapping[str, str]) -> pulumi.AssetArchive:
    """The files below `folders` (relative to the project) under their own paths, and `extra` (path: text).

    Data files beside a processor are packaged with it. Compiled and hidden files are not.
    """
    files = sorted(
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if _packaged(path)
    )
    # Relative to the working directory, where Pulumi looks: its state would hold this machine's paths otherwise.
    assets: dict[str, pulumi.Asset | pulumi.Archive] = {
        path.as_posix(): pulumi.FileAsset(os.path.relpath(ROOT / path)) for path in files
    }
    return pulumi.AssetArchive(assets | {path: pulumi.StringAsset(text) for path, text in sorted(extra.items())})


def _packaged(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)
    return path.is_file() and not hidden and path.name not in _NOT_PACKAGED


def dependency_layer(requirements: Path = REQUIREMENTS, build_folder: Path = BUILD_FOLDER) -> pulumi.FileArchive:
    """The zip of a Lambda layer with `requirements` (relative to the project; pinned, with hashes).

    It is built once for the same requirements, for the functions' Python and platform wherever it is built. The same
    requirements give the same bytes with the same zlib. PIPELINE_LAYER_ARCHIVE in the environment names a zip to use
    instead. Raises `PackageError`.
    https://docs.aws.amazon.com/lambda/latest/dg/python-layers.html
    """
    if given := os.environ.get("PIPELINE_LAYER_ARCHIVE"):
        if not Path(given).is_file():
            raise PackageError(f"PIPELINE_LAYER_ARCHIVE={given}: no such file; name a zip or leave the variable out")
        return pulumi.FileArchive(given)
    requirements = ROOT / requirements
    inputs = hashlib.sha256(repr((_PIP_OPTIONS, _TARGET)).encode() + requirements.read_bytes())
    archive = build_folder / f"layer-{inputs.hexdigest()[:16]}.zip"
    if not archive.exists():
        build_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=build_folder) as temporary:
            packages, unfinished = Path(temporary, "packages"), Path(temporary, "layer.zip")
            _install(requirements, packages)
            _check_size(requirements, packages)
            _write_zip(packages, unfinished)
            unfinished.replace(archive)
    return pulumi.FileArchive(os.path.relpath(archive))


def _install(requirements: Path, target: Path) -> None:
    wanted = target.with_name("requirements.txt")
    wanted.write_text(_for_target(requirements), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [*_PIP_OPTIONS, "--target", str(target), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words only
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.splitlines()[-3:])
        raise PackageError(f"{os.path.relpath(requirements)}: pip could not install it for the layer: {said}")
    # Commands are of no use in a function, and their first line names the Python of this machine.
    shutil.rmtree(target / "bin", ignore_errors=True)


def _for_target(requirements: Path) -> str:
    """Return the requirements whose markers hold where the functions run, without their markers."""
    text = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return "".join(f"{kept}\n" for line in lines if line and (kept := _kept(line, requirements)))


def _kept(line: str, requirements: Path) -> str | None:
    if line.startswith("-"):
        return line
    specifier, *hashes = re.split(r"\s+(?=--hash)", line)
    try:
        requirement = Requirement(specifier)
    except InvalidRequirement as error:
        raise PackageError(f"{os.path.relpath(requirements)}: {specifier!r} is no requirement: {error}") from error
    if requirement.marker is not None and not requirement.marker.evaluate(_TARGET):
        return None
    requirement.marker = None
    return " ".join([str(requirement), *hashes])


def _check_size(requirements: Path, packages: Path) -> None:
    sizes = Counter[str]()
    for path in packages.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(packages).parts[0]] += path.stat().st_size
    if sizes.total() > LARGEST_UNPACKED_BYTES:
        largest = ", ".join(f"{name} {size / 2**20:.0f} MB" for name, size in sizes.most_common(3))
        raise PackageError(
            f"{os.path.relpath(requirements)}: its packages take {sizes.total() / 2**20:.0f} MB unpacked, and Lambda "
            f"takes {LARGEST_UNPACKED_BYTES / 2**20:.0f} MB with the code; the largest are {largest}"
        )


def _write_zip(packages: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as layer:
        for path in sorted(packages.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts or path.name in _NOTES_OF_PIP:
                continue
            entry = zipfile.ZipInfo(f"python/{path.relative_to(packages).as_posix()}", _NO_TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on Windows too
            entry.compress_type = zipfile.ZIP_DEFLATED
            layer.writestr(entry, path.read_bytes())
