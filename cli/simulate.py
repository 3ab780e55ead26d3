"""`pipeline simulate`: devices that upload readings to an `iot` pipeline."""

import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_fields
from cli.simulation import Expectation, Summary, Upload, device_name, recent_start, uploads
from components.options.iot import IotPipelineConfig
from handlers.iot.forms import Form
from handlers.iot.silence import Silences
from handlers.iot.thresholds import Thresholds
from handlers.shared import aws

# Uploads at once. Those of a device are in one lane, so that they go out in their order.
LANES = aws.CALLS_AT_ONCE


def run_simulate(
    stack: str,
    *,
    devices: int,
    rate: float,
    duration: float,
    seed: int | None,
    bad_share: float,
    bucket: str | None,
    as_json: bool,
) -> int:
    """Uploads `rate` objects a second for `duration` seconds; prints what was sent and what is to come of it."""
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311  no secret
    target = Stack(stack)
    config = target.config_as(IotPipelineConfig)
    form = Form.from_json(config.form_json())
    silences = Silences.from_json(config.silence_json())
    expectation = Expectation(
        Thresholds.from_json(config.thresholds_json()),
        silences,
        form,
        started=datetime.now(UTC),
        max_alert_age_minutes=config.readings.max_alert_age_minutes or 0,
    )
    target.aim_aws_clients()
    bucket = bucket or target.output("input_bucket")
    count = max(1, round(rate * duration))
    s3 = aws.client("s3")

    def put(upload: Upload) -> None:
        s3.put_object(Bucket=bucket, Key=upload.key, Body=upload.body)

    summary = Summary()
    pending: list[Future[None]] = []
    started = time.monotonic()
    with ExitStack() as stacked:
        progress = stacked.enter_context(_progress())
        lanes = [stacked.enter_context(ThreadPoolExecutor(1)) for _ in range(min(LANES, devices))]
        task = progress.add_task("simulating", total=count, said="")
        start = recent_start(devices=devices, count=count, now=datetime.now(UTC))
        simulated = uploads(
            devices=devices,
            count=count,
            seed=seed,
            bad_share=bad_share,
            rate=rate,
            form=form,
            silences=silences,
            start=start,
        )
        for upload in simulated:
            time.sleep(max(0.0, started + upload.at - time.monotonic()))
            pending.append(lanes[upload.device % len(lanes)].submit(put, upload))
            summary.add(upload)
            expectation.add(upload, summary)
            while pending and pending[0].done():
                pending.pop(0).result()
            progress.update(task, completed=upload.at * rate + 1, said=_said(summary))
        for future in pending:
            future.result()
    seconds = time.monotonic() - started
    if as_json:
        facts = {"seed": seed, "devices": devices, "seconds": round(seconds, 1), **vars(summary)}
        write_json(facts)
    else:
        _print(summary, seed, devices, seconds)
    return 0


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _said(summary: Summary) -> str:
    return f"{summary.uploads} uploads, {summary.good} readings, {summary.bad} bad, {summary.alerts.total()} alerts"


def _print(summary: Summary, seed: int, devices: int, seconds: float) -> None:
    alerts = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.alerts.items()))
    lines = {
        "seed": f"{seed} (on the same day, the same seed sends the same again)",
        "devices": f"{device_name(seed, 0)} to {device_name(seed, devices - 1)}",
        "sent": f"{summary.uploads} objects of {devices} devices in {seconds:.1f} s",
        "good readings": f"{summary.good}, to be stored once each",
        "repeated": f"{summary.repeated}, of readings sent before",
        "bad": f"{summary.bad}, to be recorded in rejected/",
        "partial": f"{summary.partial}, to be stored without a metric that is recorded in rejected/",
        "alerts to expect": f"{summary.alerts.total()}{': ' if alerts else ''}{alerts}",
    }
    if summary.silent_afterwards:
        lines["afterwards"] = f"{summary.silent_afterwards} devices fall silent if nothing more is sent"
    write_fields(lines)
