"""A function's code: from the archive of the program to zip bytes, and the check that its handler can be imported."""

import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pulumi

from local.errors import LocalError
from local.packages import sdk_folder

# The oldest time that a zip archive can hold. One time for all entries makes archives reproducible.
_EPOCH = (1980, 1, 1, 0, 0, 0)

IMPORT_SECONDS = 30


def zip_bytes(archive: pulumi.Archive) -> bytes:
    """Return the archive as zip bytes. Raises LocalError when a file cannot be read."""
    if isinstance(archive, pulumi.FileArchive) and Path(archive.path).is_file():
        return _read(Path(archive.path))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in sorted(_entries(archive)):
            information = zipfile.ZipInfo(name, _EPOCH)
            information.external_attr = 0o644 << 16
            information.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(information, data)
    return content.getvalue()


def source_files(archive: pulumi.Archive) -> list[Path]:
    """Return the absolute paths of the archive's files."""
    if isinstance(archive, pulumi.FileArchive):
        path = Path(archive.path).resolve()
        return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found: list[Path] = []
    for asset in archive.assets.values() if isinstance(archive, pulumi.AssetArchive) else ():
        if isinstance(asset, pulumi.FileAsset):
            found.append(Path(os.fspath(asset.path)).resolve())
        elif isinstance(asset, pulumi.Archive):
            found += source_files(asset)
    return sorted(found)


def _entries(archive: pulumi.Archive) -> Iterator[tuple[str, bytes]]:
    if isinstance(archive, pulumi.FileArchive):
        root = Path(archive.path)
        if not root.is_dir():
            raise LocalError(f"there is no {root}, which a code archive names")
        for file in source_files(archive):
            yield file.relative_to(root.resolve()).as_posix(), _read(file)
        return
    if not isinstance(archive, pulumi.AssetArchive):
        raise LocalError(
            f"a code archive of type {type(archive).__name__} is not supported; use AssetArchive or FileArchive"
        )
    for name, asset in archive.assets.items():
        if isinstance(asset, pulumi.FileAsset):
            yield name, _read(Path(os.fspath(asset.path)))
        elif isinstance(asset, pulumi.StringAsset):
            yield name, asset.text.encode()
        elif isinstance(asset, pulumi.Archive):
            yield from ((f"{name}/{inner}", data) for inner, data in _entries(asset))
        else:
            raise LocalError(
                f"the asset {name!r} of type {type(asset).__name__} is not supported; use FileAsset or StringAsset"
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LocalError(f"cannot read {path}, which a code archive names: {error.strerror}") from error


def check_import(code: bytes, handler: str, environment: Mapping[str, str], packages: Sequence[str]) -> None:
    """Imports a handler as Lambda would, in a process of its own. Raises LocalError saying where and what is wrong.

    Modules are found in the archive, the folders of `packages` and the AWS SDK: what is missing there must be missed
    here already.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-import-") as folder:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            archive.extractall(folder)
        checker = Path(__file__).with_name("import_check.py")
        try:
            result = subprocess.run(  # noqa: S603  our own file, with this Python
                [sys.executable, "-I", "-S", str(checker), folder, handler, *packages, str(sdk_folder())],
                cwd=folder,
                env={"PATH": os.environ.get("PATH", ""), "HOME": folder, "LAMBDA_TASK_ROOT": folder, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=IMPORT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LocalError(f"importing {handler} takes more than {IMPORT_SECONDS} seconds") from None
    if result.returncode == 0:
        return
    last = (result.stdout.strip().splitlines() or [""])[-1]
    try:
        problem = json.loads(last)["problem"]
    except (ValueError, TypeError, KeyError):
        said = result.stderr.strip().splitlines()
        problem = said[-1] if said else f"the process ended with {result.returncode}"
    raise LocalError(f"cannot import {handler}: {problem}")
