"""The archive with the functions' code."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pulumi

ROOT = Path(__file__).parents[1]
BUILD_FOLDER = ROOT / ".build"

RUNTIME = "python3.13"
ARCHITECTURE = "arm64"

# What the layer is built from is no part of the code.
_NOT_PACKAGED = {"requirements.in", "requirements.txt"}


def source_archive(*folders: str, extra: Mapping[str, str]) -> pulumi.AssetArchive:
    """The files of `handlers` and of `folders` of the project under their own paths, and `extra` (path: text).

    Data files beside a processor are packaged with it. Compiled and hidden files are not.
    """
    # A program elsewhere that imports this package has processors of its own.
    files = dict(
        sorted([*_files(ROOT, "handlers"), *(each for folder in folders for each in _files(Path.cwd(), folder))])
    )
    # Relative to the working directory, where Pulumi looks: its state would hold this machine's paths otherwise.
    assets: dict[str, pulumi.Asset | pulumi.Archive] = {
        name: pulumi.FileAsset(os.path.relpath(path)) for name, path in files.items()
    }
    return pulumi.AssetArchive(assets | {path: pulumi.StringAsset(text) for path, text in sorted(extra.items())})


def _files(root: Path, folder: str) -> Iterator[tuple[str, Path]]:
    for path in (root / folder).rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.name not in _NOT_PACKAGED:
            yield name.as_posix(), path
