"""Makes a plan, asks, records who erases what, erases, and looks whether anything is left."""

import hashlib
import sys
from collections.abc import Callable, Mapping

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.record import Record
from cli.core.stack import Stack
from cli.core.terminal import inert, write_lines
from cli.erase import api, csv, iot
from cli.erase.plan import Plan
from local.errors import LocalError

PLANS: Mapping[str, Callable[[Stack, str], Plan]] = {"api": api.plan, "csv": csv.plan, "iot": iot.plan}


def run_erase(stack: str, name: str, *, dry_run: bool, sure: bool, as_json: bool) -> int:
    """Erase what a stack keeps of an event, a key or a device. Return 1 unless all of it is gone. Raises LocalError."""
    source = Stack(stack)
    make_plan = PLANS[source.config.variant]
    source.aim_aws_clients()
    try:
        plan = make_plan(source, name)
        if plan.is_empty:
            raise LocalError(f"stack {stack!r} keeps nothing of {name!r}")
        left = plan.left
        if not dry_run:
            if not sure:
                _ask(plan, stack, name)
            left = _erase(source, name, plan, make_plan)
    except (BotoCoreError, ClientError) as error:
        raise LocalError(f"{name!r} is not erased as a whole: {one_line(error)}; repeat the command") from error
    complete = not left and not dry_run
    if as_json:
        write_json({"name": name, "dry_run": dry_run, "erased": plan.counts, "left": left, "complete": complete})
    else:
        verb = "would be erased" if dry_run else "erased"
        write_lines(
            [
                *(f"{count:>9,}  {place} {verb}" for place, count in plan.counts.items()),
                *(f"left: {inert(each)}" for each in left),
            ]
        )
    return int(bool(left))


def _ask(plan: Plan, stack: str, name: str) -> None:
    if not sys.stdin.isatty():
        raise LocalError("erase deletes data permanently and there is no terminal to ask at; confirm with --yes")
    places = ", ".join(f"{count} {place}" for place, count in plan.counts.items() if count)
    if not typer.confirm(f"Erase {inert(name)} from stack {stack!r} permanently? ({places})", err=True):
        raise LocalError("nothing was erased")


def _erase(source: Stack, name: str, plan: Plan, make_plan: Callable[[Stack, str], Plan]) -> list[str]:
    """Erase what a plan has, and return what is left."""
    # The record must not keep what it says was erased. Whoever knows the name can compare.
    facts = {"name_sha256": hashlib.sha256(name.encode()).hexdigest()}
    record = Record(source, "erase", ("data is being erased", "data was erased"), facts)
    record.begins()
    for step in plan.steps:
        step.erase()
    after = make_plan(source, name)
    left = [*after.left, *(f"{count} {place}" for place, count in after.counts.items() if count)]
    record.ended({"erased": plan.counts, "complete": not left})
    return left
