"""The effect of deploying one graph over another: resources created, changed, replaced, deleted, and data lost.

Pulumi's provider would decide the same by asking AWS. Here the table in local/provider.py decides.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from components.data_loss import HOLDS_DATA
from local.monitor import Registration
from local.provider import RULES
from local.recording import Graph

Action = Literal["create", "change", "replace", "delete"]

_NEW = "(known after the deployment)"
_UNSET, _GONE = "unset", "absent"
_UNVERSIONED = "objects that are overwritten or deleted from now on"
FUNCTION, ALIAS = "aws:lambda/function:Function", "aws:lambda/alias:Alias"
LOG_GROUP, VERSIONING = "aws:cloudwatch/logGroup:LogGroup", "aws:s3/bucketVersioning:BucketVersioning"
HOLDS: Mapping[str, str] = {
    **{kind: holds for kind, (holds, _) in HOLDS_DATA.items()},
    LOG_GROUP: "its log lines",
}
# Ids shorter than this could stand in a value by chance.
_SHORTEST_ID = 8


@dataclass(frozen=True)
class Difference:
    """A value inside an input that differs, by its path (`environment.variables.TRACK`)."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Change:
    """The effect on a resource. `loses` says which data is lost, `note` what else follows."""

    action: Action
    type: str
    name: str
    differences: tuple[Difference, ...] = ()
    loses: str = ""
    note: str = ""

    @property
    def is_guarded(self) -> bool:
        """Return True if the guard of components/data_loss.py watches resources of this type."""
        return self.type in HOLDS_DATA


def changes(before: Graph, after: Graph) -> list[Change]:
    """Return the changes of a deployment, by resource. The graphs are snapshots: code is compared by its digest."""
    old, new = _by_urn(before), _by_urn(after)
    found = [Change("create", each.type, each.name) for urn, each in new.items() if urn not in old]
    found += [_deleted(each) for urn, each in old.items() if urn not in new]
    found += _updated({urn: (old[urn], each) for urn, each in new.items() if urn in old}, after)
    return sorted(found, key=lambda change: (change.type, change.name, change.action))


def _by_urn(graph: Graph) -> dict[str, Registration]:
    """Return the resources that exist on AWS, with all their tags and their region among the inputs."""
    return {
        each.urn: replace(each, inputs={"region": graph.region, **each.inputs, "tags": dict(each.tags)})
        for each in graph
        if each.custom
    }


def _deleted(resource: Registration) -> Change:
    if resource.retained:
        return Change("delete", resource.type, resource.name, note="it stays on AWS, and Pulumi forgets it")
    if resource.type == VERSIONING:
        return Change("delete", resource.type, resource.name, loses=_UNVERSIONED)
    return Change("delete", resource.type, resource.name, loses=HOLDS.get(resource.type, ""))


def _updated(pairs: Mapping[str, tuple[Registration, Registration]], after: Graph) -> Iterator[Change]:
    """Yield the changes of resources that stay. What is replaced has a new id, which changes what names the id."""
    differences = {urn: list(_differences(old, new)) for urn, (old, new) in pairs.items()}
    replaced: set[str] = set()
    while fresh := {urn for urn, found in differences.items() if _replaces(pairs[urn][1], found)} - replaced:
        replaced |= fresh
        ids = {each for urn in fresh for each in _ids(pairs[urn][1], after)}
        for urn, (_, new) in pairs.items():
            known = {found.path.partition(".")[0].partition("[")[0] for found in differences[urn]}
            named = (name for name, value in new.inputs.items() if name not in known and _contains(value, ids))
            ignored = new.ignored_changes
            differences[urn] += [
                Difference(name, "", _NEW) for name in named if urn not in fresh and name not in ignored
            ]
    for urn, (_, new) in pairs.items():
        if new.type == ALIAS and new.inputs["functionName"] in _published(pairs, differences):
            differences[urn].append(Difference("functionVersion", "", _NEW))
    for urn, (old, new) in pairs.items():
        if not differences[urn]:
            continue
        shown = tuple(differences[urn])
        if urn not in replaced:
            lost = "; ".join(_lost_in_place(old, new))
            note = "" if new.type in RULES else "a type that local/provider.py does not know: it may be replaced"
            yield Change("change", new.type, new.name, shown, lost, note)
        elif old.retained:
            note = "the old one stays on AWS with its data, and the new one is empty" if new.type in HOLDS else ""
            yield Change("replace", new.type, new.name, shown, note=note)
        else:
            yield Change("replace", new.type, new.name, shown, HOLDS.get(new.type, ""))


def _published(
    pairs: Mapping[str, tuple[Registration, Registration]], differences: Mapping[str, Sequence[Difference]]
) -> set[str]:
    """Return the names of functions of which a deployment publishes a new version: code or configuration differ."""
    return {
        new.physical_name
        for urn, (_, new) in pairs.items()
        if new.type == FUNCTION
        and new.inputs.get("publish")
        and any(not each.path.startswith("tags") for each in differences[urn])
    }


def _replaces(resource: Registration, found: Sequence[Difference]) -> bool:
    rules = RULES.get(resource.type)
    changed = {each.path.partition(".")[0].partition("[")[0] for each in found}
    return rules is not None and bool(changed & rules.replaces)


def _ids(resource: Registration, graph: Graph) -> Iterator[str]:
    """Yield the texts that AWS would make anew for a resource: its id, its ARN and the like."""
    given = {value for value in resource.inputs.values() if isinstance(value, str)}
    arns = (arn for arn, each in graph.arns.items() if each.urn == resource.urn)
    for text in (*arns, *graph.ids.get(resource.urn, ()), resource.physical_name):
        if len(text) >= _SHORTEST_ID and text not in given and text != resource.name:
            yield text


def _contains(value: Any, ids: set[str]) -> bool:
    if isinstance(value, Mapping):
        return any(_contains(each, ids) for each in value.values())
    if isinstance(value, list):
        return any(_contains(each, ids) for each in value)
    return isinstance(value, str) and any(each in value for each in ids)


def _differences(old: Registration, new: Registration) -> Iterator[Difference]:
    for name in sorted(old.inputs.keys() | new.inputs.keys()):
        if name not in new.ignored_changes:
            yield from _inside(name, old.inputs.get(name), new.inputs.get(name))


def _inside(path: str, old: Any, new: Any) -> Iterator[Difference]:
    """Yield the parts of a value that differ. A text of JSON is compared by what it holds."""
    if old == new:
        return
    old, new = _parsed(old), _parsed(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "sha256" not in new:
        for key in sorted(old.keys() | new.keys()):
            yield from _inside(f"{path}.{key}", old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _inside(f"{path}[{position}]", one, other)
    elif isinstance(old, list) and isinstance(new, list):
        yield from (Difference(f"{path}[]", _shown(each), _GONE) for each in old if each not in new)
        yield from (Difference(f"{path}[]", _GONE, _shown(each)) for each in new if each not in old)
    elif old != new:
        yield Difference(path, _shown(old), _shown(new))


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _shown(value: Any) -> str:
    if value is None:
        return _UNSET
    if isinstance(value, Mapping) and value.keys() == {"sha256"}:
        return f"sha256 {value['sha256'][:12]}"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


# What a change in place deletes


def _shortened(old: Registration, new: Registration, name: str) -> float | None:
    before, now = old.inputs.get(name), new.inputs.get(name)
    return now if before is not None and now is not None and now < before else None


def _expiries(lifecycle: Registration) -> dict[str, float]:
    rules = (rule for rule in lifecycle.inputs.get("rules", ()) if rule.get("status") == "Enabled")
    days = {rule.get("filter", {}).get("prefix", ""): rule.get("expiration", {}).get("days") for rule in rules}
    return {prefix: each for prefix, each in days.items() if each is not None}


def _lost_in_place(old: Registration, new: Registration) -> Iterator[str]:
    if new.type in _LOST_IN_PLACE:
        yield from _LOST_IN_PLACE[new.type](old, new)


def _old_messages(old: Registration, new: Registration) -> Iterator[str]:
    if seconds := _shortened(old, new, "messageRetentionSeconds"):
        yield f"messages older than {seconds / 86_400:g} days"


def _old_log_lines(old: Registration, new: Registration) -> Iterator[str]:
    if days := _shortened(old, new, "retentionInDays"):
        yield f"log lines older than {days:g} days"


def _old_objects(old: Registration, new: Registration) -> Iterator[str]:
    before, now = _expiries(old), _expiries(new)
    for prefix, days in sorted(now.items()):
        if days < before.get(prefix, float("inf")):
            yield f"objects below {prefix or 'any key'} older than {days:g} days"


def _backups(old: Registration, new: Registration) -> Iterator[str]:
    before, now = (each.inputs.get("pointInTimeRecovery", {}).get("enabled") for each in (old, new))
    if before and not now:
        yield "its continuous backups"


def _versions(old: Registration, new: Registration) -> Iterator[str]:
    before, now = (each.inputs.get("versioningConfiguration", {}).get("status") for each in (old, new))
    if before == "Enabled" != now:
        yield _UNVERSIONED


_LOST_IN_PLACE: Mapping[str, Callable[[Registration, Registration], Iterator[str]]] = {
    "aws:sqs/queue:Queue": _old_messages,
    LOG_GROUP: _old_log_lines,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _old_objects,
    "aws:dynamodb/table:Table": _backups,
    VERSIONING: _versions,
}
