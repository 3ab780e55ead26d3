"""A diff of stacks as text."""

from collections.abc import Iterator, Sequence

from cli.permissions import Permission
from cli.stack_diff import TRAFFIC, StackDiff
from local.changes import Change, Difference
from local.rules import Finding

SIGNS = {"create": "+", "change": "~", "replace": "!", "delete": "-"}
SHOWN_DIFFERENCES = 6
SHOWN_CHARACTERS = 60
# More resources than this with the same differences are one line.
SHOWN_ALIKE = 2


def text(diffs: Sequence[StackDiff], base: str) -> Iterator[str]:
    """Yield the lines of a diff: `+` for what is made, `-` for what goes, `!` for what is replaced or lost."""
    for number, diff in enumerate(diffs):
        yield from ("",) if number else ()
        yield from _stack(diff)
    if not diffs:
        yield f"there are no stacks, neither here nor at {base}"


def _stack(diff: StackDiff) -> Iterator[str]:
    match diff.status:
        case "failed":
            yield f"stack {diff.stack}: cannot be compared"
            yield from (f"  {line}" for line in diff.error.splitlines())
            return
        case "removed":
            yield (
                f"stack {diff.stack}: its file is gone. What is deployed stays, and is billed, until "
                f"`pulumi destroy --stack {diff.stack}`, which would do this:"
            )
        case "new":
            yield f"stack {diff.stack}: new, {len(diff.changes)} resources"
        case "compared" if not (diff.changes or diff.findings_added or diff.findings_removed):
            yield f"stack {diff.stack}: nothing changes ({diff.unchanged} resources)"
        case _:
            yield f"stack {diff.stack}: {_summary(diff)}"
    # Every resource of a new stack is new: its program says which.
    yield from () if diff.status == "new" else _changes(diff)
    yield from _rights(diff)
    yield from (f"+ {_finding(each)}" for each in diff.findings_added)
    yield from (f"- {_finding(each)}" for each in diff.findings_removed if diff.status != "removed")
    yield from _costs(diff)


def _summary(diff: StackDiff) -> str:
    words = {"create": "created", "change": "changed", "replace": "replaced", "delete": "deleted"}
    counts = {word: sum(each.action == action for each in diff.changes) for action, word in words.items()}
    return ", ".join([*(f"{count} {word}" for word, count in counts.items() if count), f"{diff.unchanged} unchanged"])


def _changes(diff: StackDiff) -> Iterator[str]:
    alike: dict[tuple[object, ...], list[Change]] = {}
    for change in diff.changes:
        same = (change.action, change.differences, change.loses, change.note)
        alike.setdefault(same if change.differences else (id(change),), []).append(change)
    for group in alike.values():
        if len(group) > SHOWN_ALIKE and group[0].action == "change" and not group[0].loses:
            yield f"~ change {len(group)} resources alike: {', '.join(_named(each) for each in group)}"
            yield from _details(group[0], diff)
        else:
            for change in group:
                yield f"{SIGNS[change.action]} {change.action} {_named(change)}"
                yield from _details(change, diff)


def _named(change: Change) -> str:
    return f"{change.type.rpartition(':')[2]} {change.name}"


def _details(change: Change, diff: StackDiff) -> Iterator[str]:
    for each in change.differences[:SHOWN_DIFFERENCES]:
        yield f"    {_difference(each)}"
    if more := len(change.differences) - SHOWN_DIFFERENCES:
        yield from (f"    and {more} more inputs",) if more > 0 else ()
    if change.loses:
        yield f"!   LOSES {change.loses}{_stopped(change, diff)}"
    if change.note:
        yield f"    {change.note}"


def _stopped(change: Change, diff: StackDiff) -> str:
    """Say what `pulumi preview` would say of a loss (components/data_loss.py)."""
    if diff.status == "removed" or change.action == "change" or not change.is_guarded:
        return ""
    if change.name in diff.allowed_losses:
        return " (allow_data_loss allows it)"
    return " (pulumi preview refuses it)"


def _difference(each: Difference) -> str:
    if not each.before:
        return f"{each.path}: {_cut(each.after)}"
    begin = _begin(each.before, each.after)
    return f"{each.path}: {_cut(each.before[begin:], begin)} -> {_cut(each.after[begin:], begin)}"


def _begin(one: str, other: str) -> int:
    """Return where two long values begin to differ, at a sign that separates words; 0 for short ones."""
    if max(len(one), len(other)) <= SHOWN_CHARACTERS:
        return 0
    shorter = min(len(one), len(other))
    common = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    return max(one.rfind(sign, 0, common) for sign in " :/,") + 1


def _cut(value: str, begin: int = 0) -> str:
    shown = value if len(value) <= SHOWN_CHARACTERS else f"{value[: SHOWN_CHARACTERS - 3]}..."
    return f"...{shown}" if begin else shown


def _rights(diff: StackDiff) -> Iterator[str]:
    for sign, rights in (("+", diff.rights_added), ("-", diff.rights_removed)):
        for each in rights if diff.status != "removed" else ():
            yield f"{sign} right: {_right(each)}"


def _right(each: Permission) -> str:
    when = f" when {each.when}" if each.when else ""
    return f"{each.function} {each.action} on {each.resource}{when}"


def _finding(each: Finding) -> str:
    kind = "finding" if each.accepted is None else "accepted finding"
    return f"{kind}: {each.name}: {each.found} ({each.rule})"


def _costs(diff: StackDiff) -> Iterator[str]:
    before, after = diff.dollars_before, diff.dollars_after
    events = f"a month at {TRAFFIC.events_a_month:,} events"
    match diff.status:
        case "new" if after is not None:
            yield f"cost: {after:,.2f} USD {events}"
        case "compared" if before is not None and after is not None and f"{before:.2f}" != f"{after:.2f}":
            yield f"cost: {before:,.2f} -> {after:,.2f} USD {events}"
