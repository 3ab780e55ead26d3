"""The command: the table, the exit code, and the cleaning up."""

import secrets
from dataclasses import asdict
from datetime import timedelta

from cli.core.http import Access
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from cli.verify.api import ApiProbe
from cli.verify.checks import Check, Probe, checked, verified
from cli.verify.csv import CsvProbe
from cli.verify.iot import IotProbe
from local.errors import LocalError

MARK = "pipeline-verify-"
WORDS = {True: "ok", False: "FAILED", None: "-"}


def run_verify(stack: str, access: Access, sample: str | None, timeout: timedelta, *, as_json: bool) -> int:
    """Try a pipeline and print a line a check. Return 1 if one failed."""
    target = Stack(stack)
    target.aim_aws_clients()
    probe = probe_of(target, access, sample, timeout.total_seconds())
    found: list[Check] = []

    def note(check: Check) -> None:
        found.append(check)
        if not as_json:
            write_lines([f"{WORDS[check.ok]:<8}{check.name:<15}{check.detail}"])

    try:
        for check in verified(target, probe):
            note(check)
    finally:
        failed = any(check.ok is not True for check in found)
        note(checked("cleaned up", lambda: _clean(probe, failed=failed)))
    failures = sum(check.ok is False for check in found)
    if as_json:
        write_json([asdict(check) for check in found])
    else:
        write_lines([f"stack {stack!r}: {f'{failures} of {len(found)} checks failed' if failures else 'all is well'}"])
    return int(failures > 0)


def probe_of(stack: Stack, access: Access, sample: str | None, seconds: float) -> Probe:
    """Return the probe of a stack's variant."""
    mark = f"{MARK}{secrets.token_hex(8)}"
    match stack.config.variant:
        case "api":
            return ApiProbe(stack, mark, access, sample, seconds)
        case "csv":
            return CsvProbe(stack, mark, sample, seconds)
        case "iot":
            return IotProbe(stack, mark, sample, seconds)


def _clean(probe: Probe, *, failed: bool) -> str:
    if left := list(probe.clean(failed=failed)):
        raise LocalError("; ".join(left))
    return f"everything with the mark {probe.mark}"
