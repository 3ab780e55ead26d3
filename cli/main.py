"""The `pipeline` command: the names, options and help of its commands.

A command is a function here that returns the exit code of `run_<name>` in `cli/<name>.py`, which it imports when it
runs: `pipeline --help` must not wait for Pulumi. Commands share what is in `cli/core`.
"""

import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer

from cli.core.durations import duration, moment
from local.errors import LocalError

Parameters = ParamSpec("Parameters")

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="An event-driven data pipeline, on this machine or on AWS.",
)
faults_app = typer.Typer(no_args_is_help=True, help="Inject faults into a stack, for game days: docs/faults.md.")
circuit_app = typer.Typer(
    no_args_is_help=True, help="Show, open and close the circuit breaker of a stack: docs/circuit-breaker.md."
)
csv_app = typer.Typer(no_args_is_help=True, help="Work with CSV files on this disk.")
dead_letters_app = typer.Typer(no_args_is_help=True, help="List, redrive and purge the dead letters of a stack.")
webhook_app = typer.Typer(
    no_args_is_help=True, help="Send signed requests to the webhooks of a stack: docs/webhooks.md."
)
app.add_typer(faults_app, name="faults")
app.add_typer(circuit_app, name="circuit")
app.add_typer(csv_app, name="csv")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(webhook_app, name="webhook")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  as Typer calls it
    if wanted:
        from importlib.metadata import version

        typer.echo(version("datapipeline"))
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run an event-driven data pipeline on this machine or look at one on AWS."""


StackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, Pulumi.<stack>.yaml.")]
CsvStackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, of the variant csv.")]
IotStackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, of the variant iot.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]
PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 picks a free one.")]
SinceOption = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="Start at this time, or so long ago: 90m, 6h, 2d."),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="'NAME: VALUE'|@FILE",
        help="A header to add, such as an API key or a token. @FILE has one a line, and keeps it off the command line.",
    ),
]
SignOption = Annotated[bool, typer.Option("--sign", help="Sign requests with AWS credentials, for api.auth: iam.")]
ErrorTypeOption = Annotated[
    str | None, typer.Option("--error-type", help="Only dead letters with this error, as the list shows it.")
]
MinAgeOption = Annotated[
    timedelta,
    typer.Option(
        "--min-age", parser=duration, metavar="DURATION", show_default="0", help="Only older ones: 90s, 15m, 6h, 2d."
    ),
]
MaxAgeOption = Annotated[
    timedelta | None,
    typer.Option("--max-age", parser=duration, metavar="DURATION", help="Only younger ones: 90s, 15m, 6h, 2d."),
]
IdOption = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Only the one with this id, of the message, event or file.")
]
EventTypeOption = Annotated[str | None, typer.Option("--type", help="Only those of events of this type.")]
FieldOption = Annotated[
    str | None,
    typer.Option("--field", metavar="PATH=VALUE", help="Only those of events with this value, as customer.id=42."),
]
MaximumOption = Annotated[int, typer.Option("--max", min=1, help="The maximum number.")]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, whatever --max says; with their progress.")]
RateOption = Annotated[
    int | None, typer.Option("--rate", min=1, show_default="as fast as it goes", help="At most so many a second.")
]


def command(
    group: typer.Typer, name: str | None = None
) -> Callable[[Callable[Parameters, int]], Callable[Parameters, int]]:
    """Register a function as a command. The process exits with what it returns; errors become one line."""

    def register(function: Callable[Parameters, int]) -> Callable[Parameters, int]:
        @wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> NoReturn:
            from cli.core.errors import exit_with

            exit_with(partial(function, *args, **kwargs))

        group.command(name)(run)
        return function

    return register


@command(app)
def local(
    stack: StackOption = "dev",
    port: PortOption = 0,
    shell_command: Annotated[
        str | None,
        typer.Option("--exec", help="Run this shell command against the pipeline, stop it, exit with its code."),
    ] = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print only the outputs, as one line of JSON; no console.")
    ] = False,
    with_console: Annotated[bool, typer.Option("--console/--no-console", help="Show the stack in the browser.")] = True,
) -> int:
    """Run a stack on this machine, in an AWS emulator, until Ctrl-C. Changed handler code is reloaded."""
    # Nothing is to be cleaned up before the start, and an interrupted import can swallow Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli.local import run_local

    return run_local(stack, port, shell_command, as_json=as_json, console=with_console)


@command(app)
def console(
    stack: StackOption = "dev",
    port: PortOption = 0,
    header: HeaderOption = None,
    *,
    sign: SignOption = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Do not send, redrive or purge.")] = False,
    writable: Annotated[
        bool, typer.Option("--writable", help="Send, redrive and purge on AWS, too; on this machine it can anyway.")
    ] = False,
    beside: Annotated[bool, typer.Option(hidden=True, help="End with standard input: `pipeline local` does.")] = False,
) -> int:
    """See a stack that runs here or on AWS in the browser, until Ctrl-C."""
    from cli.console import is_installed

    if not is_installed():
        from cli.core.suggestions import program

        raise LocalError(
            f"the console is not installed; {program('pip')} install --require-hashes -r requirements-console.txt"
        )
    from cli.console.serve import run_console
    from cli.core.http import Access

    access = Access.from_options(header or [], sign=sign)
    return run_console(stack, port, access, read_only=read_only, writable=writable, beside=beside)


@command(app)
def new(
    name: Annotated[str, typer.Argument(help="The name of the stack, its function and its event type.")],
    variant: Annotated[str, typer.Option(help="api, csv or iot.")] = "api",
    webhook: Annotated[
        str,
        typer.Option(help="With a webhook: github, stripe, slack, shopify, standard or hmac.", show_default="none"),
    ] = "",
) -> int:
    """Write a stack of your own: its stack file and a test; for api, a schema and a function, too."""
    from cli.new import run_new

    return run_new(name, variant, webhook)


@command(app)
def demo(stack: StackOption = "dev", port: PortOption = 0) -> int:
    """Run a stack here, send sample events and follow each to its result. On a terminal it then serves until Ctrl-C."""
    from cli.demo import run_demo

    return run_demo(stack, port)


@command(app)
def send(
    file: Annotated[str, typer.Argument(help="JSON (an array or one object) or JSON Lines; - is standard input.")],
    stack: StackOption = "dev",
    batch_size: Annotated[int, typer.Option(min=1, max=500, help="Events in one request.")] = 100,
    header: HeaderOption = None,
    *,
    sign: SignOption = False,
    as_json: JsonOption = False,
) -> int:
    """Send events to a stack that runs here or on AWS. Exit 1 if any was rejected."""
    from cli.core.http import Access
    from cli.send import run_send

    return run_send(file, stack, batch_size, Access.from_options(header or [], sign=sign), as_json=as_json)


@command(webhook_app, "send")
def webhook_send(
    name: Annotated[str, typer.Argument(help="The webhook's name in the stack file.")],
    file: Annotated[str, typer.Argument(help="The body, sent as it is; - is standard input.")],
    stack: StackOption = "dev",
    event_type: Annotated[
        str, typer.Option("--type", help="The type, where the sender has it in a header.", show_default="test")
    ] = "",
    delivery: Annotated[
        str, typer.Option("--id", help="The id, where the sender has it in a header.", show_default="a new one")
    ] = "",
    header: HeaderOption = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Sign a file as the sender would, and send it. Exit 1 if it was not accepted.

    The secret is that of PIPELINE_SECRET_WEBHOOK_<NAME>, else the one that the pipeline reads.
    """
    from cli.core.http import Access
    from cli.webhook import run_webhook_send

    access = Access.from_options(header or [], sign=False)
    return run_webhook_send(name, file, stack, access, event_type=event_type, delivery=delivery, as_json=as_json)


@command(app)
def status(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The id that the API returned.")],
    stack: StackOption = "dev",
    header: HeaderOption = None,
    *,
    sign: SignOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's response as it is.")] = False,
) -> int:
    """Show the status and the result of an event."""
    from cli.core.http import Access
    from cli.status import run_status

    return run_status(event_id, stack, Access.from_options(header or [], sign=sign), as_json=as_json)


@command(app)
def events(
    stack: StackOption = "dev",
    status: Annotated[str | None, typer.Option(help="Only queued, retrying, succeeded or failed ones.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
    since: SinceOption = None,
    maximum: MaximumOption = 100,
    lost_before: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="TIME", help="With --stuck: also those sent before, as when a queue was purged then."
        ),
    ] = None,
    *,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only those that wait for a message which is lost, however old.")
    ] = False,
    release: Annotated[
        bool, typer.Option("--release", help="With --stuck: let a repeat send them again (docs/dead-letters.md).")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C: a line for each change.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each event.")] = False,
) -> int:
    """List recent events with status and error, oldest first. Default: those of the last hour."""
    from local.errors import LocalError

    if stuck and (status or watch):
        raise LocalError("--stuck shows queued and retrying events once: leave out --status and --watch")
    if stuck:
        from cli.stuck_events import Stuck, run_stuck

        return run_stuck(stack, Stuck(since, lost_before, event_type, maximum), release=release, as_json=as_json)
    if lost_before or release:
        raise LocalError("--lost-before and --release need --stuck")
    from cli.events import Selection, run_events

    return run_events(stack, Selection(since, status, event_type, maximum), watch=watch, as_json=as_json)


@command(app)
def logs(
    stack: StackOption = "dev",
    function: Annotated[str | None, typer.Option(help="Only this function, such as worker.")] = None,
    since: SinceOption = None,
    wanted_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Only lines with this event or correlation id.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each log line.")] = False,
) -> int:
    """Show what the functions log, with tracebacks. Default: the last ten minutes."""
    from cli.logs import run_logs

    return run_logs(stack, function, since, wanted_id, follow=follow, as_json=as_json)


@command(app)
def report(
    stack: StackOption = "dev",
    since: SinceOption = None,
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", show_default="now", help="End before this time, or so long ago."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Count events by status, type and error, as scheduled reports do. Default: those of the last hour."""
    from cli.report import run_report

    return run_report(stack, since, until, as_json=as_json)


@command(app)
def openapi(stack: StackOption = "dev") -> int:
    """Print the OpenAPI document of a stack's API: its routes, limits, event schemas and authentication."""
    from cli.openapi import run_openapi

    return run_openapi(stack)


@command(app)
def check(stack: StackOption = "dev", *, as_json: JsonOption = False) -> int:
    """Check a stack against rules of security and operation, without deploying it. Exit 1 if it breaks any."""
    from cli.check import run_check

    return run_check(stack, as_json=as_json)


@command(app)
def diff(
    stack: Annotated[
        str | None, typer.Option(envvar="PIPELINE_STACK", help="Only this stack, Pulumi.<stack>.yaml. Default: all.")
    ] = None,
    base: Annotated[str, typer.Option(metavar="REV", help="The git revision to compare with.")] = "HEAD",
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a comment for a pull request.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show what deploying would change since a git revision: resources, lost data, rights, findings, cost."""
    from cli.diff import run_diff

    return run_diff(stack, base, as_markdown=markdown, as_json=as_json)


@command(app)
def verify(
    stack: StackOption = "dev",
    header: HeaderOption = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Send this event, CSV file or reading (device id: DEVICE), not a made-up one."
        ),
    ] = None,
    timeout: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="1m", help="How long to wait for each step."),
    ] = timedelta(minutes=1),
    *,
    sign: SignOption = False,
    as_json: JsonOption = False,
) -> int:
    """Try a deployed pipeline end to end and clean up. Its processor runs once. Exit 1 if a check failed."""
    from cli.core.http import Access
    from cli.verify.run import run_verify

    return run_verify(stack, Access.from_options(header or [], sign=sign), sample, timeout, as_json=as_json)


@command(app)
def permissions(stack: StackOption = "dev", *, as_json: JsonOption = False) -> int:
    """Show each function's permissions: action, resource and purpose."""
    from cli.permissions import run_permissions

    return run_permissions(stack, as_json=as_json)


@command(app)
def package(stack: StackOption = "dev", *, as_json: JsonOption = False) -> int:
    """Show the sizes of what each function is deployed with, and what weighs most. Builds the layers."""
    from cli.package import run_package

    return run_package(stack, as_json=as_json)


@command(app)
def cost(
    stack: StackOption = "dev",
    events_per_month: Annotated[
        int | None, typer.Option(min=0, help="api: events received in a month. Default: 1,000,000.")
    ] = None,
    events_per_request: Annotated[
        int | None, typer.Option(min=1, max=500, help="api: events in one request. Default: 1.")
    ] = None,
    event_bytes: Annotated[
        int | None, typer.Option(min=2, max=1_000_000, help="api: size of an event, and of its result. Default: 500.")
    ] = None,
    gb_per_month: Annotated[
        float | None, typer.Option(min=0, help="csv: gigabytes uploaded in a month. Default: 100.")
    ] = None,
    file_mb: Annotated[float | None, typer.Option(min=0.001, help="csv: size of a file. Default: 50.")] = None,
    readings_per_month: Annotated[
        int | None, typer.Option(min=0, help="iot: readings uploaded in a month. Default: 10,000,000.")
    ] = None,
    readings_per_object: Annotated[
        int | None, typer.Option(min=1, help="iot: readings in one upload. Default: 100.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option(metavar="FILE", help="A price table of your own, like cli/prices.json.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Estimate the monthly cost of a stack, by service."""
    from cli.cost import run_cost

    volume = {
        "events_a_month": events_per_month,
        "events_a_request": events_per_request,
        "event_bytes": event_bytes,
        "gb_a_month": gb_per_month,
        "file_mb": file_mb,
        "readings_a_month": readings_per_month,
        "readings_an_object": readings_per_object,
    }
    return run_cost(stack, volume, prices, as_json=as_json)


@command(app)
def plan(
    stack: StackOption = "dev",
    events_per_second: Annotated[
        float | None,
        typer.Option(min=0.1, max=10_000_000, help="The mean rate.", show_default="a table from 10 to 1,000,000"),
    ] = None,
    burst: Annotated[float, typer.Option(min=1, max=1_000, help="A burst of so many times the mean rate.")] = 1,
    burst_length: Annotated[
        timedelta,
        typer.Option(
            "--burst-duration", parser=duration, metavar="DURATION", show_default="5m", help="Like 30s, 5m or 2h."
        ),
    ] = timedelta(minutes=5),
    events_per_request: Annotated[int, typer.Option(min=1, max=500, help="Events in one request.")] = 1,
    event_bytes: Annotated[int, typer.Option(min=2, max=1_000_000, help="Size of an event, and of its result.")] = 500,
    seconds_per_event: Annotated[
        float | None,
        typer.Option(
            min=0.000_1,
            max=900,
            help="Time of the worker for one event, your function included.",
            show_default="that of pipeline cost",
        ),
    ] = None,
    groups: Annotated[int, typer.Option(min=1, help="Groups of a FIFO queue with events at the same time.")] = 100,
    account_concurrency: Annotated[
        int, typer.Option(min=10, help="Lambda's concurrency quota of the account.")
    ] = 1_000,
    *,
    as_json: JsonOption = False,
) -> int:
    """Show what breaks first at a rate of events, what to change in the config, and the queue during a burst."""
    from cli.plan.command import run_plan
    from cli.plan.situation import DEFAULT_EVENT_SECONDS, Load

    load = Load(
        events_per_second or 1,
        burst,
        burst_length.total_seconds(),
        events_per_request,
        event_bytes,
        seconds_per_event or DEFAULT_EVENT_SECONDS,
        groups,
    )
    return run_plan(stack, load, events_per_second, account_concurrency, as_json=as_json)


@command(app)
def simulate(
    stack: IotStackOption = "iot",
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="The number of devices.")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, max=1_000, help="Uploads a second, all devices together.")] = 10,
    length: Annotated[
        timedelta,
        typer.Option("--duration", parser=duration, metavar="DURATION", show_default="10s", help="Like 30s or 2m."),
    ] = timedelta(seconds=10),
    seed: Annotated[int | None, typer.Option(min=0, max=10**18, help="The same seed gives the same data.")] = None,
    bad_share: Annotated[float, typer.Option(min=0, max=1, help="Malformed payloads for each good reading.")] = 0.05,
    bucket: Annotated[str | None, typer.Option(help="Upload to this bucket instead of the stack's own.")] = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Upload readings of simulated devices, with realistic faults, to an iot stack."""
    from cli.simulate import run_simulate

    return run_simulate(
        stack,
        devices=devices,
        rate=rate,
        duration=length.total_seconds(),
        seed=seed,
        bad_share=bad_share,
        bucket=bucket,
        as_json=as_json,
    )


@command(app)
def readings(
    device: Annotated[str, typer.Argument(help="The id of the device, or a pattern of several: 'sim-*'.")] = "*",
    stack: IotStackOption = "iot",
    since: SinceOption = None,
    metric: Annotated[str | None, typer.Option(help="Show this metric only.")] = None,
    every: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="DURATION", help="Show count, minimum, mean and maximum of each period: 1h."
        ),
    ] = None,
    parquet: Annotated[str | None, typer.Option(metavar="FILE", help="Write a Parquet file instead.")] = None,
    *,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a chart, with limits and alerts.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show readings of an iot stack: of a device, or the newest one of each device of a group."""
    from cli.readings import Wanted, output_of, run_readings

    output = output_of({"plot": plot, "csv": as_csv, "json": as_json})
    file = None if parquet is None else Path(parquet)
    return run_readings(stack, Wanted(device, since, metric, every, output, file))


@command(app)
def remove_readings(
    key: Annotated[str, typer.Argument(help="The key of the upload: readings/....")],
    stack: IotStackOption = "iot",
    version: Annotated[str | None, typer.Option(help="The version, or the ETag in a bucket without versions.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Delete from an iot stack the readings that an upload wrote, unless another upload has written them since."""
    from cli.remove_readings import run_remove_readings

    return run_remove_readings(stack, key, version, dry_run=dry_run, as_json=as_json)


@command(app)
def erase(
    name: Annotated[
        str, typer.Argument(metavar="ID|KEY", help="An event's id, a device's id (iot) or an upload's key (csv).")
    ],
    stack: StackOption = "dev",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Erase all that a stack keeps of an event, a device or an upload, after asking. Exit 1 if anything is left."""
    from cli.erase.run import run_erase

    return run_erase(stack, name, dry_run=dry_run, sure=yes, as_json=as_json)


@command(app)
def replay(
    stack: Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, of the variant api or iot.")] = "iot",
    since: Annotated[
        datetime | None,
        typer.Option(
            "--from", parser=moment, metavar="TIME", help="api: events received from this time, or so long ago."
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", show_default="now", help="api: events received before it."),
    ] = None,
    event_types: Annotated[
        list[str] | None, typer.Option("--type", help="api: only events of this type; may be given several times.")
    ] = None,
    rate: Annotated[int, typer.Option(min=1, help="api: at most so many events a second.")] = 50,
    *,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="api: only events that wait for a message which is lost.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="api: say what would be done, and send nothing.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="api: continue a replay that was ended early.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="api: do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Send archived events of an api stack through it again (docs/archive.md), or give an iot worker its dead letters.

    The events of an api stack keep their ids, and those that are done are processed again. Exit 1 if any is left out.

    An iot stack takes no options but --json: its worker is invoked with each dead letter, and those that succeed are
    deleted. Exit 1 if any is left.
    """
    from cli.core.stack import Stack
    from local.errors import LocalError

    target = Stack(stack)
    selects = since or until or event_types or stuck or dry_run or resume or yes
    match target.config.variant:
        case "iot" if not selects:
            from cli.replay import run_replay

            return run_replay(stack, as_json=as_json)
        case "api" if (since is None) is resume and not (resume and (until or event_types or stuck)):
            from cli.replay_archive import run_replay_archive, selection

            wanted = None if since is None else selection(since, until, event_types or [], stuck=stuck)
            return run_replay_archive(target, wanted, rate=rate, dry_run=dry_run, sure=yes, as_json=as_json)
        case "api":
            raise LocalError("name what to replay with --from (and --to, --type), as --from 2d; or give --resume alone")
        case variant:
            raise LocalError(
                f"stack {stack!r} is of the variant {variant!r}; only an api stack has an archive to replay"
            )


@command(app)
def upload(
    file: Annotated[str, typer.Argument(help="A CSV file, gzipped or not.")],
    stack: CsvStackOption = "csv",
    key: Annotated[str | None, typer.Option(help="The object's key. Default: the stack's prefix and the name.")] = None,
    timeout: Annotated[
        timedelta,
        typer.Option(parser=duration, metavar="DURATION", show_default="1h", help="How long to wait for the report."),
    ] = timedelta(hours=1),
    *,
    as_json: JsonOption = False,
) -> int:
    """Upload a file to a csv stack, wait for its report and print it. Exit 1 if it failed or any row was rejected."""
    from cli.upload import run_upload

    return run_upload(file, stack, key, timeout, as_json=as_json)


@csv_app.callback()
def csv_main() -> None:
    """Work with CSV files on this disk."""


@command(csv_app, "check")
def csv_check(
    file: Annotated[str, typer.Argument(help="A CSV file, gzipped or not.")],
    stack: CsvStackOption = "csv",
    rejected: Annotated[str | None, typer.Option(metavar="FILE", help="Write the rejected rows, JSON Lines.")] = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Read a file as a stack would, and print its report. Exit 1 if it fails or any row was rejected."""
    from cli.csv_check import run_csv_check

    return run_csv_check(file, stack, rejected, as_json=as_json)


@command(csv_app, "infer")
def csv_infer(
    file: Annotated[str, typer.Argument(help="A CSV file, gzipped or not.")],
    rows: Annotated[int, typer.Option(min=1, help="Rows to look at; fewer in a file of many columns.")] = 100_000,
    *,
    as_json: JsonOption = False,
) -> int:
    """Print columns for a stack file, as a file suggests them, with the share of rows that fit. Check and edit them."""
    from cli.csv_infer import run_csv_infer

    return run_csv_infer(file, rows, as_json=as_json)


@command(csv_app, "schema")
def csv_schema(
    reader: Annotated[str, typer.Option("--for", help="athena, duckdb, spark, pyarrow or polars.")],
    stack: CsvStackOption = "csv",
    location: Annotated[str, typer.Option(help="Where processed/ is.")] = "s3://OUTPUT_BUCKET/processed",
) -> int:
    """Print how a reader reads a stack's processed rows with the types of their columns."""
    from cli.csv_schema import run_csv_schema

    return run_csv_schema(stack, reader, location)


@command(csv_app, "reprocess")
def csv_reprocess(
    stack: CsvStackOption = "csv",
    key: Annotated[str | None, typer.Option(help="The key of one upload.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Uploads whose keys begin with this.")] = None,
    since: SinceOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Have a csv stack read uploads again, the newest version of each key, after a rule was fixed."""
    from cli.csv_reprocess import run_csv_reprocess

    return run_csv_reprocess(stack, key, prefix, since, dry_run=dry_run, as_json=as_json)


@command(csv_app, "files")
def csv_files(
    stack: CsvStackOption = "csv",
    day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Begun on this day (UTC). Default: today."),
    ] = None,
    status: Annotated[str | None, typer.Option(help="processing, succeeded, failed or skipped.")] = None,
    maximum: MaximumOption = 100,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per file.")] = False,
) -> int:
    """List the files that a csv stack began on a day, newest first, with their outcome or progress. Exit 1 if none."""
    from cli.csv_files import run_csv_files

    return run_csv_files(stack, day.date() if day else None, status, maximum, as_json=as_json)


@command(csv_app, "rejected")
def csv_rejected(
    key: Annotated[str, typer.Option(help="The key of the upload.")],
    stack: CsvStackOption = "csv",
) -> int:
    """Write the rejected rows of an upload as CSV with its header, to correct and upload them. Exit 1 if none."""
    from cli.csv_rejected import run_csv_rejected

    return run_csv_rejected(stack, key)


@command(csv_app, "report")
def csv_report(
    file: Annotated[str, typer.Argument(help="A report: of reports/ in the output bucket, or of check --json.")],
    *,
    as_html: Annotated[bool, typer.Option("--html", help="Write a page with charts beside the file instead.")] = False,
) -> int:
    """Print a stored report, or write it as a page with charts. Exit 1 if the file failed or any row was rejected."""
    from cli.csv_report import run_csv_report

    return run_csv_report(file, as_html=as_html)


@command(circuit_app, "show")
def circuit_show(stack: StackOption = "dev", *, as_json: JsonOption = False) -> int:
    """Show the circuit: open or closed, since when and why, and the keys that are held back."""
    from cli.circuit import run_show

    return run_show(stack, as_json=as_json)


@command(circuit_app, "open")
def circuit_open(
    stack: StackOption = "dev",
    length: Annotated[
        timedelta,
        typer.Option("--for", parser=duration, metavar="DURATION", show_default="1h", help="At most 12h."),
    ] = timedelta(hours=1),
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it.")] = "",
    *,
    as_json: JsonOption = False,
) -> int:
    """Open the circuit for a time: the worker takes no messages, which wait in the queue."""
    from cli.circuit import run_open

    return run_open(stack, length, reason, as_json=as_json)


@command(circuit_app, "close")
def circuit_close(
    stack: StackOption = "dev",
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="Go on at full speed. Default: slowly at first.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Close the circuit, and hold no key back."""
    from cli.circuit import run_close

    return run_close(stack, at_once=at_once, as_json=as_json)


@command(faults_app, "show")
def faults_show(stack: StackOption = "dev", *, as_json: JsonOption = False) -> int:
    """Show the faults that are injected into a stack now."""
    from cli.faults import run_show

    return run_show(stack, as_json=as_json)


@command(faults_app, "set")
def faults_set(
    mode: Annotated[
        str, typer.Argument(help="none, poison_payload, slow_downstream, random_fail_pNN or duplicate_submit.")
    ],
    stack: StackOption = "dev",
) -> int:
    """Inject faults into a stack, or stop it (none)."""
    from cli.faults import run_set

    return run_set(stack, mode)


@command(dead_letters_app, "list")
def dead_letters_list(
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = timedelta(0),
    max_age: MaxAgeOption = None,
    wanted_id: IdOption = None,
    event_type: EventTypeOption = None,
    field: FieldOption = None,
    maximum: MaximumOption = 100,
    *,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> int:
    """List the dead letters with age, attempts and error, and leave them in place."""
    from cli.dead_letters import Amount, run_list, wanted_of

    wanted = wanted_of(error_type, (min_age, max_age), wanted_id, event_type, field)
    return run_list(stack, wanted, Amount() if everything else Amount(maximum), as_json=as_json)


@command(dead_letters_app, "count")
def dead_letters_count(
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = timedelta(0),
    max_age: MaxAgeOption = None,
    event_type: EventTypeOption = None,
    field: FieldOption = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Count all dead letters by error, and leave them in place."""
    from cli.dead_letters import run_count, wanted_of

    return run_count(stack, wanted_of(error_type, (min_age, max_age), None, event_type, field), as_json=as_json)


@command(dead_letters_app, "show")
def dead_letters_show(
    wanted_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the message, or of its event or file.")],
    stack: StackOption = "dev",
    *,
    as_json: JsonOption = False,
) -> int:
    """Show one dead letter with its body."""
    from cli.dead_letters import run_show

    return run_show(stack, wanted_id, as_json=as_json)


@command(dead_letters_app, "redrive")
def dead_letters_redrive(  # noqa: PLR0913  its options
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = timedelta(0),
    max_age: MaxAgeOption = None,
    wanted_id: IdOption = None,
    event_type: EventTypeOption = None,
    field: FieldOption = None,
    maximum: MaximumOption = 100,
    rate: RateOption = None,
    *,
    everything: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask about the order of a FIFO queue.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Send dead letters of an api or csv stack back to their queue. Exit 1 if any could not be sent."""
    from cli.dead_letters import ALL, Amount, run_redrive, wanted_of

    wanted = wanted_of(error_type, (min_age, max_age), wanted_id, event_type, field)
    return run_redrive(stack, wanted, Amount(ALL if everything else maximum, rate or ALL), sure=yes, as_json=as_json)


@command(dead_letters_app, "export")
def dead_letters_export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file, which only you may read.")],
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = timedelta(0),
    max_age: MaxAgeOption = None,
    event_type: EventTypeOption = None,
    field: FieldOption = None,
    *,
    as_json: JsonOption = False,
) -> int:
    """Write all dead letters to a file, one JSON object a line, and leave them in place."""
    from cli.dead_letters import run_export, wanted_of

    return run_export(stack, file, wanted_of(error_type, (min_age, max_age), None, event_type, field), as_json=as_json)


@command(dead_letters_app, "import")
def dead_letters_import(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `export` or `purge` wrote.")],
    stack: StackOption = "dev",
) -> int:
    """Put exported dead letters back with the dead letters. Exit 1 if any was refused."""
    from cli.dead_letters import run_import

    return run_import(stack, file)


@command(dead_letters_app, "purge")
def dead_letters_purge(  # noqa: PLR0913  its options
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = timedelta(0),
    max_age: MaxAgeOption = None,
    wanted_id: IdOption = None,
    event_type: EventTypeOption = None,
    field: FieldOption = None,
    maximum: MaximumOption = 100,
    rate: RateOption = None,
    *,
    everything: AllOption = False,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", metavar="FILE", help="Keep them in this new file. Default: dead-letters-STACK-TIME.jsonl."
        ),
    ] = None,
    no_export: Annotated[bool, typer.Option("--no-export", help="Keep no copy.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Delete dead letters permanently, after asking. They are exported, and the log says who deleted them."""
    from cli.dead_letters import ALL, Amount, run_purge, wanted_of

    if no_export and export:
        raise LocalError("--export and --no-export do not go together: choose one")
    wanted = wanted_of(error_type, (min_age, max_age), wanted_id, event_type, field)
    amount = Amount(ALL if everything else maximum, rate or ALL)
    return run_purge(stack, wanted, amount, export=export, keeps=not no_export, sure=yes, as_json=as_json)


if __name__ == "__main__":
    app()
