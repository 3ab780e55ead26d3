"""Synthesise a stack: run its program without creating anything, and return the resources as plain objects.

    graph = synthesise(Path("."), "dev")
    assert graph.find("aws:sqs/queue:Queue", "pipeline-queue").inputs["maxMessageSize"] == 1_048_576

As with the emulator, an unknown type and an output that no resource provides are errors.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.answers import ANSWERS
from local.arns import ARNS, Scope
from local.errors import LocalError
from local.monitor import Created, Registration
from local.program import run_program
from local.project import DEFAULT_REGION, Project, load_project

# AWS's own example account.
ACCOUNT = "123456789012"


@dataclass
class Graph:
    """The resources that a program registered, parents before children."""

    resources: list[Registration] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    arns: Mapping[str, Registration] = field(default_factory=dict)
    """Resources by their ARN."""
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values that name a resource elsewhere, by its URN: its id, name, URL and the like."""
    region: str = DEFAULT_REGION

    def __iter__(self) -> Iterator[Registration]:
        """Iterate over all resources."""
        return iter(self.resources)

    def of_type(self, kind: str) -> list[Registration]:
        """Return all resources of a type (`aws:sqs/queue:Queue`)."""
        return [resource for resource in self.resources if resource.type == kind]

    def find(self, kind: str, name: str) -> Registration:
        """Return the one resource of a type and logical name. Raises LookupError with the names that exist."""
        found = [resource for resource in self.of_type(kind) if resource.name == name]
        if len(found) != 1:
            names = ", ".join(sorted(resource.name for resource in self.of_type(kind)))
            raise LookupError(f"{len(found)} resources {kind} {name!r}; of this type there are: {names or 'none'}")
        return found[0]

    def by_urn(self, urn: str) -> Registration:
        """Return the resource of a URN."""
        return next(resource for resource in self.resources if resource.urn == urn)

    def children(self, parent: Registration) -> list[Registration]:
        """Return the direct children of a resource."""
        return [resource for resource in self.resources if resource.parent == parent.urn]


def synthesise(
    directory: Path | None = None,
    stack: str = "dev",
    config_override: Mapping[str, Any] | None = None,
    *,
    program: Callable[[], object] | None = None,
    config: Mapping[str, Any] | None = None,
    deployed: Graph | None = None,
    for_aws: bool = False,
) -> Graph:
    """Return the graph of a stack.

    The stack is either one of a project's folder, with `config_override` above its stack file (plain values; a key
    without namespace is the project's; None removes a key), or a `program` with `config`, which needs no files. The
    program finds the resources of `deployed` in its state. Code and layers are for functions on this machine, or with
    `for_aws` those that `pulumi up` deploys: the layers are built then. Raises what the program raises.
    """
    if program is None:
        project = load_project(directory or Path.cwd(), stack).with_config(config_override or {})
    else:
        project = Project("datapipeline", stack, directory or Path.cwd(), {}).with_config(config or {})
    recorder = Recorder(project.config.get("aws:region", DEFAULT_REGION))
    if deployed is not None:
        recorder.deployed = {
            each.urn: {"type": each.type, "outputs": {"region": deployed.region, **_plain(each)}} for each in deployed
        }
    outputs = run_program(project, recorder, program, for_aws=for_aws)
    return Graph(recorder.registered, outputs, recorder.arns, recorder.ids, project.region)


def _plain(resource: Registration) -> dict[str, Any]:
    plain = {key: value for key, value in resource.inputs.items() if isinstance(value, str | bool | int)}
    return plain | {key: value for key, value in resource.inputs.items() if key == "environment"}


class Recorder:
    """A backend that keeps registrations and makes up the outputs of AWS."""

    account = ACCOUNT

    def __init__(self, region: str) -> None:
        self._scope = Scope(ACCOUNT, region)
        self._lock = threading.Lock()
        self.registered: list[Registration] = []
        self.deployed: Mapping[str, Any] = {}
        self.arns: dict[str, Registration] = {}
        self.ids: dict[str, tuple[str, ...]] = {}

    def component(self, registration: Registration) -> None:
        """Keep a component."""
        with self._lock:
            self.registered.append(registration)

    def create(self, registration: Registration) -> Created:
        """Keep a resource and return made-up outputs."""
        self.component(registration)
        if registration.type not in ANSWERS:
            raise LocalError(
                "the recorder does not know this type; add AWS's answer for it to ANSWERS of local/answers.py"
            )
        name = registration.physical_name
        created = ANSWERS[registration.type](self._scope, name, registration.inputs)
        arn = {"arn": ARNS[registration.type](self._scope, name)} if registration.type in ARNS else {}
        outputs = {**arn, **created.outputs}
        with self._lock:
            self.ids[registration.urn] = (created.id, *(each for each in outputs.values() if isinstance(each, str)))
            if "arn" in outputs:
                self.arns[outputs["arn"]] = registration
        return Created(created.id, outputs)
