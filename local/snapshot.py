"""A graph as JSON, so that the graphs of two revisions can be compared.

The code of another revision runs in a process of its own, with its own `local.recording`. This file is run there as
text, so it imports nothing of the project at the top and takes from a graph only what every revision has.

    python -c "$(cat local/snapshot.py)" dev iot
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def plain(graph: Any) -> dict[str, Any]:
    """Return a graph as values of JSON. Code is its digest."""
    resources = [
        {**{field.name: getattr(each, field.name) for field in dataclasses.fields(each)}, "inputs": _value(each.inputs)}
        for each in graph.resources
    ]
    arns = {arn: resource.urn for arn, resource in graph.arns.items()}
    return {
        "resources": resources,
        "outputs": _value(graph.outputs),
        "arns": arns,
        "ids": _value(getattr(graph, "ids", {})),
    }


def restored(given: Mapping[str, Any], region: str) -> Any:
    """Return a graph from its plain values, which may be those of a revision whose registrations have other fields."""
    from local.monitor import Registration  # noqa: PLC0415  not for the other revision
    from local.recording import Graph  # noqa: PLC0415  as above

    known = {field.name for field in dataclasses.fields(Registration)}
    absent = {"retained": False, "ignored_changes": (), "tags": {}}
    resources = [
        Registration(**{**absent, **{key: value for key, value in each.items() if key in known}})
        for each in given["resources"]
    ]
    by_urn = {each.urn: each for each in resources}
    ids = {urn: tuple(each) for urn, each in given["ids"].items()}
    arns = {arn: by_urn[urn] for arn, urn in given["arns"].items()}
    return Graph(resources, given["outputs"], arns, ids, region)


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    digest = hashlib.sha256()
    for name, content in sorted(_files(value)):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return {"sha256": digest.hexdigest()}


def _files(asset: Any, name: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of Pulumi's assets and archives."""
    if hasattr(asset, "assets"):
        for inner, each in asset.assets.items():
            yield from _files(each, f"{name}/{inner}")
    elif hasattr(asset, "text"):
        yield name, asset.text.encode()
    elif hasattr(asset, "uri"):
        yield name, asset.uri.encode()
    else:
        path = Path(asset.path)
        # A built archive is named after what it is made of, and may hold paths of this machine.
        if ".build" in path.parts:
            yield f"{name}/{path.name}", b""
        elif path.is_dir():
            for file in path.rglob("*"):
                if file.is_file() and "__pycache__" not in file.parts:
                    yield f"{name}/{file.relative_to(path).as_posix()}", file.read_bytes()
        else:
            yield name, path.read_bytes()


def main(stacks: list[str]) -> None:
    """Print stacks of the project in the working directory: by name, `{"graph": ...}` or `{"error": ...}`."""
    from local.recording import synthesise  # noqa: PLC0415  that of the revision

    found: dict[str, Any] = {}
    for stack in stacks:
        try:
            found[stack] = {"graph": plain(synthesise(Path.cwd(), stack))}
        except Exception as error:  # noqa: BLE001  a program can raise anything, and the other stacks can be compared
            found[stack] = {"error": " ".join(str(error).split()) or type(error).__name__}
    # Whatever the program prints stands above.
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
