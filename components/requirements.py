"""Requirements files: pinned packages with hashes, and those of them that a place needs."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# pip's options for where packages come from. Others would install what the file does not name.
_SOURCES = ("--index-url", "--extra-index-url", "--find-links", "--no-index", "--trusted-host")


class PackageError(pulumi.RunError):
    """A layer cannot be built, or a function lacks a package. One line, also on Pulumi's screen."""


@dataclass(frozen=True)
class Pinned:
    """A line of a requirements file without its marker: `line` is what pip reads."""

    name: str
    version: str
    line: str


@dataclass(frozen=True)
class Requirements:
    """The packages of a requirements file that a place needs, and the file's own options for pip."""

    file: str
    packages: tuple[Pinned, ...]
    options: tuple[str, ...]


def read_requirements(path: Path, place: Mapping[str, str] | None = None) -> Requirements:
    """Return the packages of a file whose markers hold in `place`; None is this Python. Raises PackageError.

    pip evaluates markers for the Python that it runs on, so they are evaluated here.
    https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers
    """
    name = os.path.relpath(path)
    try:
        lines = list(_lines(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{name}: it cannot be read: {error}") from error
    options = tuple(line for line in lines if line.startswith("-"))
    if other := next((line for line in options if not line.startswith(_SOURCES)), None):
        raise PackageError(
            f"{name}: {other!r}: a requirements file of functions names packages itself, each with its hashes: "
            "`uv pip compile --universal --generate-hashes` writes them all into one file"
        )
    found = [_pinned(line, name, place) for line in lines if not line.startswith("-")]
    packages = [package for package in found if package is not None]
    twice = [package for package, count in Counter(each.name for each in packages).items() if count > 1]
    if twice:
        raise PackageError(f"{name}: {twice[0]} stands twice: keep one version")
    return Requirements(name, tuple(packages), options)


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if kept := re.sub(r"(^|\s)#.*", "", line).strip():
            yield kept


def _pinned(line: str, file: str, place: Mapping[str, str] | None) -> Pinned | None:
    specifier, *hashes = re.split(r"\s+(?=--hash)", line)
    try:
        requirement = Requirement(specifier)
    except InvalidRequirement as error:
        raise PackageError(f"{file}: {specifier!r} is no requirement: {str(error).splitlines()[0]}") from error
    if requirement.marker is not None and not requirement.marker.evaluate(dict(place) if place else None):
        return None
    requirement.marker = None
    exact = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
    if exact is None or not hashes:
        raise PackageError(
            f"{file}: {specifier} must be pinned to one version with its hashes: "
            f"write it into a .in file and run `uv pip compile --universal --generate-hashes`"
        )
    return Pinned(canonicalize_name(requirement.name), exact[1], " ".join([str(requirement), *hashes]))
