"""The archive with a function's code."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components import bytecode
from components.imports import imported_files
from components.package import LOCAL_VARIABLE, ROOT

# The layer is built from them; they are no part of the code.
_NOT_PACKAGED = {"requirements.in", "requirements.txt"}


@dataclass(frozen=True)
class Sources:
    """The code of a pipeline, from which each function gets what it imports.

    `files` (name: text) are written by the program, for the modules that name them. `folders` of the program's project
    are packaged whole: a processor can import its neighbours by name, and read data files beside it.
    """

    files: Mapping[str, str]
    folders: tuple[str, ...] = ()

    def archive(self, handler: str) -> pulumi.AssetArchive:
        """Return the archive of a handler (`package.module.function`): sources and, on AWS, compiled modules."""
        sources = self._sources(handler)
        compiles = LOCAL_VARIABLE not in os.environ and bytecode.why_not() is None
        return _archive(sources | (bytecode.compiled(sources) if compiles else {}), self._named(sources))

    def _sources(self, handler: str) -> dict[str, Path]:
        # A program elsewhere that imports this package has processors of its own.
        roots = {"handlers": ROOT, **dict.fromkeys(self.folders, Path.cwd())}
        whole = {name: path for folder in self.folders for name, path in _files(Path.cwd(), folder)}
        modules = [name.removesuffix(".py").replace("/", ".") for name in whole if name.endswith(".py")]
        return whole | imported_files([handler.rpartition(".")[0], *modules], roots)

    def _named(self, sources: Mapping[str, Path]) -> dict[str, str]:
        code = b"".join(path.read_bytes() for name, path in sources.items() if name.endswith(".py"))
        return {name: text for name, text in self.files.items() if f'"{name}"'.encode() in code}


def _archive(paths: Mapping[str, Path], texts: Mapping[str, str]) -> pulumi.AssetArchive:
    # Relative to the working directory, where Pulumi looks: its state would hold this machine's paths otherwise.
    files = {name: pulumi.FileAsset(os.path.relpath(path)) for name, path in sorted(paths.items())}
    assets: dict[str, pulumi.Asset | pulumi.Archive] = {**files}
    return pulumi.AssetArchive(assets | {name: pulumi.StringAsset(text) for name, text in sorted(texts.items())})


def _files(root: Path, folder: str) -> Iterator[tuple[str, Path]]:
    for path in (root / folder).rglob("*"):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.name not in _NOT_PACKAGED:
            yield name.as_posix(), path
