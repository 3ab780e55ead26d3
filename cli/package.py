"""`pipeline package`: the sizes of what each function of a stack is deployed with, and what weighs most."""

import contextlib
import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import pulumi
from rich.console import Console
from rich.table import Table

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import TABLE, cell, write_lines
from components import bytecode
from local.code import zip_bytes
from local.monitor import Registration
from local.recording import Graph

HEAVIEST = 3


@dataclass(frozen=True)
class Weight:
    """A file of the code, or a package of a layer, with its compiled modules. Sizes are of the unpacked files."""

    name: str
    unpacked_bytes: int


@dataclass(frozen=True)
class Package:
    """A function's code and layers. Lambda limits code and layers together to 250 MB unpacked."""

    function: str
    code_bytes: int
    code_unpacked_bytes: int
    layers_bytes: int
    layers_unpacked_bytes: int
    heaviest_files: list[Weight]
    heaviest_packages: list[Weight]


def run_package(stack: str, *, as_json: bool) -> int:
    """Print the sizes of a stack's functions."""
    found = packages(Stack(stack))
    not_compiled = bytecode.why_not()
    if as_json:
        write_json({"not_compiled": not_compiled, "functions": [asdict(each) for each in found]})
    else:
        _show(found)
        write_lines([] if not_compiled is None else [not_compiled])
    return 0


def packages(stack: Stack) -> list[Package]:
    """Return what the functions of a stack are deployed with, by name. Builds the layers that are not built yet."""
    graph = stack.graph(for_aws=True)
    # The archives' paths are relative to the project.
    with contextlib.chdir(stack.directory):
        layers = {arn: zip_bytes(archive) for arn, archive in _layers(graph).items()}
        functions = sorted(graph.of_type("aws:lambda/function:Function"), key=lambda each: each.name)
        return [
            _package(function, [layers[arn] for arn in function.inputs.get("layers", [])]) for function in functions
        ]


def _layers(graph: Graph) -> dict[str, pulumi.Archive]:
    """Return the archives of the layers by ARN. Large layers are uploaded to a bucket."""
    uploaded = {
        each.inputs["key"]: each.inputs["source"] for each in graph.of_type("aws:s3/bucketObjectv2:BucketObjectv2")
    }
    versions = graph.of_type("aws:lambda/layerVersion:LayerVersion")
    return {
        graph.ids[layer.urn][0]: layer.inputs["code"] if "code" in layer.inputs else uploaded[layer.inputs["s3Key"]]
        for layer in versions
    }


def _package(function: Registration, layers: Sequence[bytes]) -> Package:
    code = zip_bytes(function.inputs["code"])
    files, below = _sizes([code]), _sizes(layers)
    return Package(
        function=function.name,
        code_bytes=len(code),
        code_unpacked_bytes=files.total(),
        layers_bytes=sum(map(len, layers)),
        layers_unpacked_bytes=below.total(),
        heaviest_files=_heaviest(files),
        # `python/isal/...`, `python/typing_extensions.py`
        heaviest_packages=_heaviest(_summed({name: PurePosixPath(name).parts[1] for name in below}, below)),
    )


def _sizes(archives: Sequence[bytes]) -> Counter[str]:
    """Return the sizes of the files of zip archives; a compiled module's is added to that of its source."""
    sizes = Counter[str]()
    for archive in archives:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            for entry in opened.infolist():
                path = PurePosixPath(entry.filename)
                is_compiled = path.parent.name == "__pycache__"
                name = path.parent.parent / f"{path.name.partition('.')[0]}.py" if is_compiled else path
                sizes[name.as_posix()] += entry.file_size
    return sizes


def _summed(groups: dict[str, str], sizes: Counter[str]) -> Counter[str]:
    summed = Counter[str]()
    for name, group in groups.items():
        summed[group.removesuffix(".py")] += sizes[name]
    return summed


def _heaviest(sizes: Counter[str]) -> list[Weight]:
    return [Weight(*each) for each in sorted(sizes.items(), key=lambda each: (-each[1], each[0]))[:HEAVIEST]]


def _show(found: Sequence[Package]) -> None:
    console = Console()
    grid = Table(**TABLE)
    grid.add_column("function", no_wrap=True)
    for name in ("code KB", "unpacked KB", "layers KB", "unpacked KB"):
        grid.add_column(name, justify="right")
    for each in found:
        sizes = (each.code_bytes, each.code_unpacked_bytes, each.layers_bytes, each.layers_unpacked_bytes)
        grid.add_row(cell(each.function), *map(_kilobytes, sizes))
    console.print(grid)
    grid = Table(title="what weighs most", **TABLE)
    grid.add_column("file or package")
    grid.add_column("unpacked KB", justify="right")
    grid.add_column("functions", justify="right")
    weights = Counter(weight for each in found for weight in (*each.heaviest_packages, *each.heaviest_files))
    for weight, functions in sorted(weights.items(), key=lambda each: (-each[0].unpacked_bytes, each[0].name)):
        grid.add_row(cell(weight.name), _kilobytes(weight.unpacked_bytes), str(functions))
    console.print(grid)


def _kilobytes(size: int) -> str:
    return f"{size / 1_000:,.0f}"
