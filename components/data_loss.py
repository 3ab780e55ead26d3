"""A guard that stops a preview before it replaces or deletes a resource that holds data, or hides data from readers.

Pulumi replaces a resource when an input changes that AWS cannot change, and deletes one that the program no longer
registers. Some options say where functions look for data; a function is deployed with them as its environment. The
guard compares the program with the stack's state. docs/decisions/0011-data-loss-stops-the-preview.md says why.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceTransformationArgs

# What holds data, in words, and the inputs whose change replaces it. Names come from Pulumi.
# https://www.pulumi.com/registry/packages/aws/api-docs/ ("Changes to this property will trigger replacement")
HOLDS_DATA: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "aws:sqs/queue:Queue": ("the messages in it", {"fifo_queue": "fifoQueue"}),
    "aws:dynamodb/table:Table": ("its items", {"hash_key": "hashKey", "range_key": "rangeKey"}),
    "aws:s3/bucket:Bucket": ("its objects", {}),
    "aws:kms/key:Key": ("all that it encrypts: waiting messages, dead letters, objects, backups of tables", {}),
    "aws:cloudwatch/eventBus:EventBus": ("events that it still delivers, and the rules of other stacks", {}),
    "aws:sns/topic:Topic": ("its subscriptions, which people must confirm again", {"fifo_topic": "fifoTopic"}),
}
STEPS: Mapping[str, str] = {
    "aws:sqs/queue:Queue": (
        "stop the senders, wait until the queue is empty, send back or purge its dead letters (`pipeline dead-letters`)"
    ),
    "aws:dynamodb/table:Table": "copy the items (an export to S3 and an import into the new table)",
    "aws:s3/bucket:Bucket": "copy the objects (`aws s3 sync`)",
    "aws:kms/key:Key": (
        "empty the queues, copy what must stay readable to places under another key; a deleted key can be "
        "restored for 30 days (`aws kms cancel-key-deletion`)"
    ),
    "aws:cloudwatch/eventBus:EventBus": "move the rules to another bus, and remove them from this one",
    "aws:sns/topic:Topic": "tell the subscribers",
}
FUNCTION = "aws:lambda/function:Function"


@dataclass(frozen=True)
class Place:
    """An option that says where data lies, with the variable that functions have it in."""

    option: str
    variable: str
    hides: Callable[[str, str], bool]
    """Return True if a change from one value to another hides what is stored."""
    hidden: str
    """The data that nobody finds after such a change, in words."""


PLACES = (
    Place(
        "storage.time_index_shards",
        "TIME_INDEX_SHARDS",
        lambda before, after: int(before) > int(after),
        "lists and reports would miss events that are stored in the other partitions",
    ),
    Place(
        "storage.results",
        "RESULTS",
        lambda before, after: (before, after) == ("object", "inline"),
        "GET /events/{id} would answer without the results that are stored in the bucket",
    ),
)


class DataLossGuard:
    """Compares what a pipeline registers with the stack's state, for what holds data or says where it lies.

    `allowed` has the names of resources whose data may be lost, and of options whose change may hide data. `region` is
    that of the deployment, None if it is not known. Raises DataLossError where a resource would be replaced and
    DataHiddenError where data would be hidden, before it is registered, and DataLossError in `finish` for what is gone,
    before Pulumi deletes it.
    """

    def __init__(self, pipeline: str, allowed: tuple[str, ...], region: str | None) -> None:
        self._allowed = allowed
        self._region = region
        deployed = dict(_deployed(pipeline))
        self._deployed = {key: outputs for key, outputs in deployed.items() if key[0] in HOLDS_DATA}
        self._functions = {name: _variables(outputs) for (kind, name), outputs in deployed.items() if kind == FUNCTION}
        self._registered: set[tuple[str, str]] = set()

    def check(self, args: ResourceTransformationArgs) -> None:
        """Note a resource; as a transformation it changes nothing. Raises DataLossError."""
        kind = args.type_
        if kind == FUNCTION:
            self._check_places(self._functions.get(args.name, {}), _variables(args.props))
        if kind not in HOLDS_DATA:
            return
        self._registered.add((kind, args.name))
        before = self._deployed.get((kind, args.name))
        if before is None or args.name in self._allowed:
            return
        # Nothing moves: in another region everything is made anew.
        if self._region and before.get("region", self._region) != self._region:
            raise DataLossError(
                f"its region would change from {before['region']!r} to {self._region!r}; a stack of its own in the "
                "other region loses nothing",
                kind,
                args.name,
            )
        for given, stored in HOLDS_DATA[kind][1].items():
            # Outputs of the provider are complete; a program leaves out what is off.
            old, new = before.get(stored) or None, args.props.get(given) or None
            if old != new:
                raise DataLossError(f"its {given} would change from {_shown(old)} to {_shown(new)}", kind, args.name)

    def _check_places(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for place in PLACES:
            old, new = before.get(place.variable), after.get(place.variable)
            if not isinstance(old, str) or not isinstance(new, str) or place.option in self._allowed:
                continue
            if place.hides(old, new):
                raise DataHiddenError(place, old, new)

    def finish(self) -> None:
        """Look for what is deployed and no longer registered. Raises DataLossError."""
        for kind, name in sorted(self._deployed.keys() - self._registered):
            if name not in self._allowed:
                raise DataLossError("it is no longer part of the stack", kind, name)


class DataLossError(pulumi.RunError):
    """A change that would lose data. The message says what, and how to go about it."""

    def __init__(self, cause: str, kind: str, name: str) -> None:
        holds, _ = HOLDS_DATA[kind]
        super().__init__(
            f"the pipeline would lose {kind.rpartition(':')[2]} {name!r} with {holds}: {cause}. Take the change back, "
            f"or do it in steps: {STEPS[kind]}; then set datapipeline:allow_data_loss: [{name}], deploy, "
            "and remove the option"
        )


class DataHiddenError(pulumi.RunError):
    """A change after which stored data would not be found. The message says what, and how to go about it."""

    def __init__(self, place: Place, old: str, new: str) -> None:
        super().__init__(
            f"{place.option} would change from {old} to {new}: {place.hidden} (docs/changes.md). Take the change "
            f"back; or set datapipeline:allow_data_loss: [{place.option}], deploy, and remove the option"
        )


def _variables(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the environment of a function, as a program gives it or as the state has it."""
    environment: Mapping[str, Any] = function.get("environment") or {}
    variables: Mapping[str, Any] = environment.get("variables") or {}
    return variables


def _shown(value: object) -> str:
    return "unset" if value is None else repr(value)


def _deployed(pipeline: str) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    """Yield type and name of a pipeline's deployed functions and resources that hold data, with their outputs."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    # Pulumi's engine answers both from the state that the update began with. The second fails in a stack without one.
    outputs = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
    if not outputs or not outputs["outputs"]:
        return
    state = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack}).value
    for urn, resource in state["outputs"].items():
        types, name = urn.split("::", 3)[2:]
        own = "datapipeline:index:DataPipeline$" in f"{types}$" and name.startswith(f"{pipeline}-")
        if own and (resource["type"] in HOLDS_DATA or resource["type"] == FUNCTION):
            yield (resource["type"], name), resource["outputs"]
