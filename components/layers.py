"""The layers with the packages that functions import: for Lambda, and for functions that run on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pulumi

from components import bytecode
from components.package import ARCHITECTURE, BUILD_FOLDER, LOCAL_VARIABLE, ROOT, RUNTIME, built_once
from components.requirements import PackageError, Requirements, read_requirements

REQUIREMENTS = ROOT / "handlers/requirements.txt"

# Wheels that Lambda's Amazon Linux 2023 takes: its glibc is 2.34, and wheels for an older one run on it.
# https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
_GLIBC_MINOR = 34
PLATFORMS = (
    *(f"manylinux_2_{minor}_aarch64" for minor in range(_GLIBC_MINOR, 16, -1)),
    "manylinux2014_aarch64",
)
# Nothing that the requirements file does not name and hash, nothing that would be compiled on this machine.
_EXACTLY = ("--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile")
_FOR_LAMBDA = (
    *(word for platform in PLATFORMS for word in ("--platform", platform)),
    *("--implementation", "cp", "--python-version", RUNTIME.removeprefix("python")),
)
LAMBDA = {
    "implementation_name": "cpython",
    "implementation_version": f"{RUNTIME.removeprefix('python')}.0",
    "os_name": "posix",
    "platform_machine": {"arm64": "aarch64"}[ARCHITECTURE],
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
# MiniStack adds this folder of a layer to a function's path as Lambda does, with the .pth files in it.
_LINK = f"python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/pipeline.pth"


def layer_archive(requirements: Path = REQUIREMENTS, base: Path | None = None) -> Path:
    """Return the zip of a Lambda layer with `requirements`, without what `base` has.

    It is built once for the same requirements, for the functions' Python and platform wherever it is built. The same
    requirements give the same bytes with the same zlib. With PIPELINE_LOCAL_PACKAGES in the environment it leads to
    packages for this Python instead. Raises PackageError.
    https://docs.aws.amazon.com/lambda/latest/dg/python-layers.html
    """
    is_local = LOCAL_VARIABLE in os.environ
    place = None if is_local else LAMBDA
    wanted = read_requirements(requirements, place)
    if base is None:
        return _local_archive(wanted) if is_local else _archive(wanted, 0)
    beside = _without(wanted, read_requirements(base, place))
    return _local_archive(beside) if is_local else _archive(beside, unpacked_bytes(layer_archive(base)))


def code_of(archive: Path) -> pulumi.FileArchive:
    """Return the zip for a resource, whose state must not hold this machine's paths."""
    return pulumi.FileArchive(os.path.relpath(archive))


def unpacked_bytes(archive: Path) -> int:
    """Return the size of a zip's files."""
    with zipfile.ZipFile(archive) as layer:
        return sum(entry.file_size for entry in layer.infolist())


def import_names(archive: Path) -> set[str]:
    """Return the names of the top-level modules and packages in a layer's zip."""
    with zipfile.ZipFile(archive) as layer:
        if _LINK in layer.namelist():
            return _importable(path.name for path in Path(layer.read(_LINK).decode()).iterdir())
        return _importable(name.split("/", 2)[1] for name in layer.namelist())


def _importable(entries: Iterable[str]) -> set[str]:
    # `yaml`, `six.py`, `_cffi_backend.cpython-313-aarch64-linux-gnu.so`
    return {entry.partition(".")[0] for entry in entries if not entry.endswith((".dist-info", ".pth", ".libs"))}


def _without(wanted: Requirements, base: Requirements) -> Requirements:
    """Return the requirements that are not in the base, whose versions count. Raises PackageError."""
    versions = {package.name: package.version for package in base.packages}
    for package in wanted.packages:
        if versions.get(package.name, package.version) != package.version:
            raise PackageError(
                f"{wanted.file}: {package.name}=={package.version} is {package.name}=={versions[package.name]} in "
                f"{base.file}, and a function has one: pin the same version "
                f"(`uv pip compile -c {base.file} --universal --generate-hashes`)"
            )
    own = tuple(package for package in wanted.packages if package.name not in versions)
    return Requirements(wanted.file, own, wanted.options)


# For Lambda


def _archive(wanted: Requirements, other_bytes: int) -> Path:
    compiles = bytecode.why_not() is None
    how = (*_FOR_LAMBDA, *_EXACTLY, *(("compiled", sys.version) if compiles else ()))
    archive = BUILD_FOLDER / f"layer-{_digest(wanted, how)}.zip"

    def build(folder: Path) -> Path:
        packages, unfinished = folder / "layer/python", folder / "layer.zip"
        packages.mkdir(parents=True)
        _install(wanted, packages, _FOR_LAMBDA)
        # Commands are of no use in a function, and their first line names the Python of this machine.
        shutil.rmtree(packages / "bin", ignore_errors=True)
        # Of whichever Python the wheels were made with.
        _remove_bytecode(packages)
        _check_size(wanted.file, packages, other_bytes)
        if compiles:
            bytecode.compile_folder(packages.parent, bytecode.LAYER)
            if _sizes(packages).total() + other_bytes > LARGEST_UNPACKED_BYTES:
                # A slow start is better than a layer that Lambda refuses.
                _remove_bytecode(packages)
        _write_zip(packages, unfinished)
        return unfinished

    return built_once(archive, build)


def _remove_bytecode(packages: Path) -> None:
    for folder in list(packages.rglob("__pycache__")):
        shutil.rmtree(folder)


def _sizes(packages: Path) -> Counter[str]:
    sizes = Counter[str]()
    for path in packages.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(packages).parts[0]] += path.stat().st_size
    return sizes


def _check_size(file: str, packages: Path, other_bytes: int) -> None:
    sizes = _sizes(packages)
    if sizes.total() + other_bytes > LARGEST_UNPACKED_BYTES:
        largest = ", ".join(f"{name} {size / 2**20:.0f} MB" for name, size in sizes.most_common(3))
        beside = f" beside {other_bytes / 2**20:.0f} MB of the pipeline's own" if other_bytes else ""
        raise PackageError(
            f"{file}: its packages take {sizes.total() / 2**20:.0f} MB unpacked{beside}, and Lambda "
            f"takes {LARGEST_UNPACKED_BYTES / 2**20:.0f} MB with the code; the largest are {largest}"
        )


def _write_zip(packages: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as layer:
        for path in sorted(packages.rglob("*")):
            if path.is_dir() or path.name in _NOTES_OF_PIP:
                continue
            entry = zipfile.ZipInfo(f"python/{path.relative_to(packages).as_posix()}", _NO_TIME)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # Unix, on Windows too
            entry.compress_type = zipfile.ZIP_DEFLATED
            layer.writestr(entry, path.read_bytes())


# For this machine


def _local_archive(wanted: Requirements) -> Path:
    """Return the zip of a layer that leads to a folder with exactly these packages."""
    digest = _digest(wanted, (sys.version, sys.prefix))

    def build(folder: Path) -> Path:
        packages = folder / "packages"
        packages.mkdir()
        if all(link_installed(package.name, packages, package.version) for package in wanted.packages):
            return packages
        # All of them: pip does not install beside links.
        downloaded = folder / "downloaded" / "packages"
        downloaded.mkdir(parents=True)
        _install(wanted, downloaded, ())
        return downloaded

    packages = built_once(BUILD_FOLDER / f"packages-{digest}", build)

    def link(folder: Path) -> Path:
        unfinished = folder / "layer.zip"
        with zipfile.ZipFile(unfinished, "w") as layer:
            layer.writestr(zipfile.ZipInfo(_LINK, _NO_TIME), str(packages.resolve()))
        return unfinished

    return built_once(BUILD_FOLDER / f"packages-{digest}.zip", link)


def link_installed(name: str, folder: Path, version: str | None = None) -> bool:
    """Link an installed package into a folder. Returns False when this version is not installed, or is in the way."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return False
    if version not in (None, installed.version):
        return False
    entries = {Path(str(file)).parts[0] for file in installed.files or () if _is_part(str(file))}
    if not entries or any((folder / entry).exists() for entry in entries):
        return False
    for entry in entries:
        (folder / entry).symlink_to(_site_packages(installed) / entry)
    return True


def _is_part(file: str) -> bool:
    return not file.startswith(("../", "/", "bin/", "__pycache__/"))


def _site_packages(installed: Distribution) -> Path:
    return Path(str(installed.locate_file(""))).resolve()


# Both


def _digest(wanted: Requirements, how: Sequence[str]) -> str:
    lines = sorted(package.line for package in wanted.packages)
    return hashlib.sha256(repr((lines, wanted.options, *how)).encode()).hexdigest()[:16]


def _install(wanted: Requirements, target: Path, options: Sequence[str]) -> None:
    listed = target.with_name("requirements.txt")
    lines = (*wanted.options, *(package.line for package in wanted.packages))
    listed.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [*options, *_EXACTLY, "--target", str(target), "--requirement", str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words only
    if done.returncode:
        output = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((number for number, line in enumerate(output) if line.startswith("ERROR")), -3)
        said = "; ".join(output[first:][:4])
        raise PackageError(f"{wanted.file}: pip could not install it for the layer: {said}{_advice(said, options)}")


def _advice(said: str, options: Sequence[str]) -> str:
    if "No matching distribution" not in said:
        return ""
    place = f"{RUNTIME} on {ARCHITECTURE} Linux with glibc 2.{_GLIBC_MINOR}" if options else "this machine's Python"
    return f". A layer is made of wheels, and there is none for {place}: choose a version that has one"
