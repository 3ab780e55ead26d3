"""Compiled modules beside their sources: a function cannot write them, and would compile at each cold start.

They are `unchecked-hash`, so that Python reads them whatever times an archive gives its files.
https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation
"""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from components.package import BUILD_FOLDER, RUNTIME, built_once

# Where Lambda unpacks code and layers; tracebacks and log lines show these paths.
CODE, LAYER = "/var/task", "/opt"


def why_not() -> str | None:
    """Return why this Python cannot compile for the functions, or None. Bytecode is of one minor version of CPython."""
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = RUNTIME.removeprefix("python")
    if sys.implementation.name == "cpython" and here == wanted:
        return None
    return (
        f"modules are not compiled: this is {platform.python_implementation()} {here}, and functions run CPython "
        f"{wanted}. Imports take about twice the CPU time at a cold start; deploy with CPython {wanted}"
    )


def compile_folder(folder: Path, deployed_at: str) -> None:
    """Write `__pycache__` folders below a folder that is deployed at a path. The same sources give the same bytes."""
    options = ["-q", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", deployed_at, str(folder)]
    # Exits with 1 for a file with a syntax error. It is packaged without bytecode, and importing it names the line.
    # A process of its own, because the state of this one shows in the bytes (which strings are shared).
    subprocess.run([sys.executable, "-I", "-m", "compileall", *options], check=False)  # noqa: S603  our own words only


def compiled(sources: Mapping[str, Path]) -> dict[str, Path]:
    """Return the compiled modules of sources that are deployed as code, by their paths there."""
    contents = {name: path.read_bytes() for name, path in sorted(sources.items()) if name.endswith(".py")}
    digest = hashlib.sha256(repr((contents, sys.version)).encode()).hexdigest()[:16]

    def build(folder: Path) -> Path:
        code = folder / "code"
        for name, content in contents.items():
            target = code / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        compile_folder(code, CODE)
        return code

    code = built_once(BUILD_FOLDER / f"compiled-{digest}", build)
    return {path.relative_to(code).as_posix(): path for path in sorted(code.rglob("*.pyc"))}
