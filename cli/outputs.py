"""Where commands learn a stack's outputs: from the pipeline that runs here, or from the stack on AWS."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.errors import LocalError
from local.project import find_project, load_project
from local.services import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from local.engine import Running

FOLDER = ".pipeline"

PULUMI_SECONDS = 60


def find_outputs(stack: str) -> Mapping[str, Any]:
    """The outputs of a stack: of PIPELINE_OUTPUTS, else of the local pipeline, else of `pulumi stack output`.

    Raises LocalError when none of them has any.
    """
    if given := os.environ.get("PIPELINE_OUTPUTS"):
        return _object(given, "PIPELINE_OUTPUTS")
    directory = find_project(Path.cwd())
    running = _running(_state_file(directory, stack))
    return running if running is not None else _deployed(directory, stack)


def output(stack: str, name: str) -> str:
    """One output. Raises LocalError when the stack does not have it."""
    outputs = find_outputs(stack)
    if name not in outputs:
        raise LocalError(f"stack {stack!r} has no output {name!r}; it has {', '.join(sorted(outputs)) or 'none'}")
    return str(outputs[name])


def aim_at(stack: str) -> None:
    """Points the AWS clients of this process to where a stack runs, which is here or the user's own account."""
    project = load_project(find_project(Path.cwd()), stack)
    if "PIPELINE_OUTPUTS" in os.environ:
        return
    state = _state(_state_file(project.directory, stack))
    if state is not None:
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        os.environ.update({"AWS_ENDPOINT_URL": state["endpoint"], "AWS_DEFAULT_REGION": project.region, **keys})
    else:
        os.environ.setdefault("AWS_DEFAULT_REGION", project.region)


@contextmanager
def leave_state(pipeline: "Running") -> Iterator[None]:
    """Says in a file that a pipeline runs here, as long as it does."""
    path = _state_file(pipeline.project.directory, pipeline.project.stack)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    state = {"pid": os.getpid(), "endpoint": pipeline.emulator.endpoint, "outputs": pipeline.outputs}
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(json.dumps(state), encoding="utf-8")
    try:
        yield
    finally:
        # Another pipeline of the same stack may have been started since.
        if path.is_file() and _object(path.read_text(encoding="utf-8"), path.name).get("pid") == os.getpid():
            path.unlink()


def _state_file(directory: Path, stack: str) -> Path:
    return directory / FOLDER / f"local-{stack}.json"


def _running(path: Path) -> Mapping[str, Any] | None:
    state = _state(path)
    outputs: Mapping[str, Any] | None = state and state["outputs"]
    return outputs


def _state(path: Path) -> Mapping[str, Any] | None:
    """What a pipeline that runs here has left, None when none does."""
    if not path.is_file():
        return None
    state = _object(path.read_text(encoding="utf-8"), path.name)
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return None
    return state


def _deployed(directory: Path, stack: str) -> Mapping[str, Any]:
    start = f"`pipeline local --stack {stack}` starts it"
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise LocalError(
            f"stack {stack!r} does not run here ({start}), and there is no Pulumi CLI to ask for it on AWS"
        )
    try:
        result = subprocess.run(  # noqa: S603  the user's own Pulumi
            [pulumi, "stack", "output", "--json", "--stack", stack],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LocalError(f"`pulumi stack output` took more than {PULUMI_SECONDS} seconds") from None
    if result.returncode != 0:
        said = result.stderr.strip().splitlines() or ["it said nothing"]
        raise LocalError(f"stack {stack!r} does not run here ({start}), and `pulumi stack output` failed: {said[-1]}")
    return _object(result.stdout, "pulumi stack output")


def _object(text: str, source: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise LocalError(f"{source} does not hold JSON: {error}") from error
    if not isinstance(value, dict):
        raise LocalError(f"{source} must hold a JSON object")
    return value
