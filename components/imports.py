"""The imports of modules, read from their sources without running them."""

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Lambda's Python brings these: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
RUNTIME_NAMES = frozenset(
    {"awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "snapshot_restore_py", "urllib3"}
)
# In the standard library of a Python that runs this program, and not in the functions':
# https://docs.python.org/3/whatsnew/3.12.html and https://docs.python.org/3/whatsnew/3.13.html (Removed)
_REMOVED = frozenset(
    {
        "aifc",
        "asynchat",
        "asyncore",
        "audioop",
        "cgi",
        "cgitb",
        "chunk",
        "crypt",
        "distutils",
        "imghdr",
        "imp",
        "lib2to3",
    }
    | {"mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau", "telnetlib"}
    | {"uu", "xdrlib"}
)
STANDARD_LIBRARY = sys.stdlib_module_names - _REMOVED
_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Missing:
    """An import that a function will not find. `is_own`: the module would be a file of the project."""

    place: str
    module: str
    is_own: bool


def missing_imports(module: str, roots: Mapping[str, Path], names: AbstractSet[str]) -> Iterator[Missing]:
    """Yield the imports of a module, and of what it imports of its own package, that its function will not find.

    `roots` are the folders that hold the packages of the code archive, by their names; `names` the top-level names of
    other packages that the function has, beside the standard library and what Lambda's Python brings. Imports for type
    checkers are left out, and those whose failure is caught.
    """
    own = module.partition(".")[0]
    root = roots[own]
    provided = names | STANDARD_LIBRARY | RUNTIME_NAMES
    waiting, seen = _files(module, root), set[Path]()
    if waiting is None:
        yield Missing(os.path.relpath(root), module, is_own=True)
        return
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for imported in _imports(path, root):
            top = imported.module.partition(".")[0]
            if top in roots:
                files = _files(imported.module, roots[top])
                if files is None:
                    yield Missing(f"{os.path.relpath(path, root)}:{imported.line}", imported.module, is_own=True)
                if top == own:
                    # An imported name can be a module, too.
                    names_of = [_files(f"{imported.module}.{name}", root) for name in imported.names]
                    waiting += [file for each in (files, *names_of) for file in each or ()]
            elif top not in provided:
                yield Missing(f"{os.path.relpath(path, root)}:{imported.line}", imported.module, is_own=False)


def imported_files(modules: Iterable[str], roots: Mapping[str, Path]) -> dict[str, Path]:
    """Return every file below `roots` that modules can import, by its path there, with the modules' own.

    Imports inside functions count, and those whose failure is caught.
    """
    waiting, seen, found = list(modules), set[str](), dict[str, Path]()
    while waiting:
        module = waiting.pop()
        root = roots.get(module.partition(".")[0])
        if root is None or module in seen:
            continue
        seen.add(module)
        for path in _files(module, root) or ():
            name = path.relative_to(root).as_posix()
            if name not in found:
                found[name] = path
                waiting += _importable(path, root)
    return found


def _importable(path: Path, root: Path) -> Iterator[str]:
    try:
        imports = _imports(path, root, optional=True)
    except (SyntaxError, ValueError):
        # A file that Python cannot read imports nothing. It fails where it is imported, with its line.
        return
    for imported in imports:
        yield imported.module
        # An imported name can be a module, too.
        yield from (f"{imported.module}.{name}" for name in imported.names)


def _files(module: str, root: Path) -> list[Path] | None:
    """Return the files that importing a module runs, with those of the packages above it; None if it is missing."""
    path = root.joinpath(*module.split("."))
    own = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    # A folder without `__init__.py` is a package, too.
    if not own and not path.is_dir():
        return None
    above = (folder / "__init__.py" for folder in path.parents if folder.is_relative_to(root) and folder != root)
    return [*own[:1], *(file for file in above if file.is_file())]


@dataclass(frozen=True)
class _Import:
    line: int
    module: str
    names: tuple[str, ...] = ()


def _imports(path: Path, root: Path, *, optional: bool = False) -> list[_Import]:
    return _imports_of(path.read_bytes(), path.relative_to(root).parent.parts, optional)


# The functions of a stack share most modules.
@cache
def _imports_of(source: bytes, package: tuple[str, ...], optional: bool) -> list[_Import]:  # noqa: FBT001  for the cache
    finder = _Finder(package, optional=optional)
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    """Collects the imports of a module, also those inside functions, and `optional` ones, whose failure is caught."""

    def __init__(self, package: tuple[str, ...], *, optional: bool) -> None:
        self._package = package
        self._optional = optional
        self.found: list[_Import] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [_Import(node.lineno, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._package[: len(self._package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *([node.module] if node.module else [])])
        self.found.append(_Import(node.lineno, module, tuple(alias.name for alias in node.names)))

    def visit_If(self, node: ast.If) -> None:
        only_for_types = "TYPE_CHECKING" in ast.unparse(node.test)
        self._visit_all(node.orelse if only_for_types else [*node.body, *node.orelse])

    def visit_Try(self, node: ast.Try) -> None:
        unneeded = not self._optional and any(map(_catches_import_errors, node.handlers))
        self._visit_all([*([] if unneeded else node.body), *node.handlers, *node.orelse, *node.finalbody])

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _CAUGHT for node in ast.walk(handler.type))
