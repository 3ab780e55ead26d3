"""The `pipeline` command: what it is called with. Each command's work is in its own module, imported when it runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An event-driven data pipeline, on this machine or on AWS.",
)

# What a shell reports of a program that Ctrl-C ended.
INTERRUPTED = 130

StackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, Pulumi.<stack>.yaml.")]
IotStackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, of the variant iot.")]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="'NAME: VALUE'", help="A header to add, such as an API key or a token."),
]
SignOption = Annotated[bool, typer.Option("--sign", help="Sign requests with AWS credentials, for api.auth: iam.")]
PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 picks a free one.")]


@app.callback()
def main() -> None:
    """An event-driven data pipeline, on this machine or on AWS."""


@app.command()
def local(
    stack: StackOption = "dev",
    port: PortOption = 4566,
    command: Annotated[
        str | None,
        typer.Option("--exec", help="Run this shell command against the pipeline, take all down, exit with its code."),
    ] = None,
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the outputs as one line of JSON, and nothing else."),
    ] = False,
) -> None:
    """Run a stack on this machine, in an AWS emulator, until Ctrl-C. Handler code is reloaded when it changes."""
    from cli.local import run_local  # noqa: PLC0415  `pipeline --help` must not wait for Pulumi

    _run(lambda: run_local(stack, port, command, as_json=as_json))


@app.command()
def send(
    file: Annotated[str, typer.Argument(help="JSON (an array or one object) or JSON Lines; - is standard input.")],
    stack: StackOption = "dev",
    batch_size: Annotated[int, typer.Option(min=1, max=500, help="Events in one request.")] = 100,
    header: HeaderOption = None,
    *,
    sign: SignOption = False,
) -> None:
    """Send events to a stack that runs here or on AWS. Exit 1 if any was rejected."""
    from cli.http import Access  # noqa: PLC0415
    from cli.send import run_send  # noqa: PLC0415

    _run(lambda: run_send(file, stack, batch_size, Access.from_options(header or [], sign=sign)))


@app.command()
def status(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The id that sending answered with.")],
    stack: StackOption = "dev",
    header: HeaderOption = None,
    *,
    sign: SignOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")] = False,
) -> None:
    """Show what became of an event."""
    from cli.http import Access  # noqa: PLC0415
    from cli.status import run_status  # noqa: PLC0415

    _run(lambda: run_status(event_id, stack, Access.from_options(header or [], sign=sign), as_json=as_json))


@app.command()
def demo(stack: StackOption = "dev", port: PortOption = 0) -> None:
    """Run a stack here, send sample events, and show each one's way. On a terminal it serves on until Ctrl-C."""
    from cli.demo import run_demo  # noqa: PLC0415

    _run(lambda: run_demo(stack, port))


@app.command()
def simulate(
    stack: IotStackOption = "iot",
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="How many devices there are.")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, max=1_000, help="Uploads a second, of all devices together.")] = 10,
    duration: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds.")] = 10,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same data.")] = None,
    bad_share: Annotated[float, typer.Option(min=0, max=1, help="Malformed payloads for each good reading.")] = 0.05,
    bucket: Annotated[str | None, typer.Option(help="Upload to this bucket instead of the stack's own.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
) -> None:
    """Upload readings of devices that are not there, with all that goes wrong with devices, to an iot stack."""
    from cli.simulate import run_simulate  # noqa: PLC0415

    _run(
        lambda: run_simulate(
            stack,
            devices=devices,
            rate=rate,
            duration=duration,
            seed=seed,
            bad_share=bad_share,
            bucket=bucket,
            as_json=as_json,
        ),
    )


@app.command()
def readings(
    device: Annotated[str, typer.Argument(help="The id of the device.")],
    stack: IotStackOption = "iot",
    since: Annotated[str | None, typer.Option(help="From this time on, or from so long ago: 90m, 6h, 2d.")] = None,
    metric: Annotated[str | None, typer.Option(help="This metric only.")] = None,
    *,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it, with its thresholds.")] = False,
) -> None:
    """Show what a device of an iot stack measured."""
    from cli.readings import run_readings  # noqa: PLC0415

    _run(lambda: run_readings(stack, device, since, metric, plot=plot))


@app.command()
def replay(stack: IotStackOption = "iot") -> None:
    """Give the dead letters of an iot stack to its worker again; delete those that it takes. Exit 1 if any is left."""
    from cli.replay import run_replay  # noqa: PLC0415

    _run(lambda: run_replay(stack))


@app.command()
def report(
    stack: StackOption = "dev",
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 366, help="Events of the last so many hours.")] = 1,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Count what became of a stack's events of late, as its scheduled reports do."""
    from cli.event_report import run_report  # noqa: PLC0415

    _run(lambda: run_report(stack, hours, as_json=as_json))


@app.command()
def cost(
    stack: StackOption = "dev",
    events_per_month: Annotated[int, typer.Option(min=0, help="Events that come in.")] = 1_000_000,
    events_per_request: Annotated[
        int, typer.Option(min=1, max=500, help="How many of them a client sends at once.")
    ] = 1,
    event_bytes: Annotated[int, typer.Option(min=2, max=1_000_000, help="The size of one, and of its result.")] = 500,
    prices: Annotated[
        str | None, typer.Option(metavar="FILE", help="A price table of your own, like cli/prices.json.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bill as one line of JSON.")] = False,
) -> None:
    """Estimate what a stack of the variant api costs a month, by service."""
    from cli.cost import Traffic, run_cost  # noqa: PLC0415

    traffic = Traffic(events_per_month, events_per_request, event_bytes)
    _run(lambda: run_cost(stack, traffic, prices, as_json=as_json))


faults_app = typer.Typer(no_args_is_help=True, help="Faults on purpose, for game days: docs/faults.md.")
app.add_typer(faults_app, name="faults")


@faults_app.command("show")
def faults_show(stack: StackOption = "dev") -> None:
    """Say what goes wrong on purpose in a stack just now."""
    from cli.faults import run_show  # noqa: PLC0415

    _run(lambda: run_show(stack))


@faults_app.command("set")
def faults_set(
    mode: Annotated[
        str, typer.Argument(help="none, poison_payload, slow_downstream, random_fail_pNN or duplicate_submit.")
    ],
    stack: StackOption = "dev",
) -> None:
    """Let something go wrong in a stack, or let it be (none)."""
    from cli.faults import run_set  # noqa: PLC0415

    _run(lambda: run_set(stack, mode))


@app.command("check")
def check_stack(
    stack: StackOption = "dev",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one line of JSON.")] = False,
) -> None:
    """Check a stack against rules of security and operation, without deploying it. Exit 1 if any is not kept."""
    from cli.check import run_check  # noqa: PLC0415

    _run(lambda: run_check(stack, as_json=as_json))


@app.command()
def permissions(
    stack: StackOption = "dev",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as one line of JSON.")] = False,
) -> None:
    """Show what each function of a stack may do, with which resource, and what for."""
    from cli.permissions import run_permissions  # noqa: PLC0415

    _run(lambda: run_permissions(stack, as_json=as_json))


csv_app = typer.Typer(no_args_is_help=True, help="CSV files on this disk.")
app.add_typer(csv_app, name="csv")

CsvStackOption = Annotated[str, typer.Option(envvar="PIPELINE_STACK", help="The stack, of the variant csv.")]


@csv_app.callback()
def csv_main() -> None:
    """CSV files on this disk."""


@csv_app.command()
def check(
    file: Annotated[str, typer.Argument(help="A CSV file, gzipped or not.")],
    stack: CsvStackOption = "csv",
    rejected: Annotated[str | None, typer.Option(metavar="FILE", help="Write the rejected rows, JSON Lines.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Read a file as a stack would, and print its report. Exit 1 if it fails or any row was rejected."""
    from cli.csv_check import run_csv_check  # noqa: PLC0415

    _run(lambda: run_csv_check(file, stack, rejected, as_json=as_json))


@app.command()
def upload(
    file: Annotated[str, typer.Argument(help="A CSV file, gzipped or not.")],
    stack: CsvStackOption = "csv",
    key: Annotated[str | None, typer.Option(help="Where to put it; default: the stack's prefix and the name.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the report.")] = 3_600,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one line of JSON.")] = False,
) -> None:
    """Upload a file to a csv stack, wait for its report, print it. Exit 1 if it failed or any row was rejected."""
    from cli.upload import run_upload  # noqa: PLC0415

    _run(lambda: run_upload(file, stack, key, timeout, as_json=as_json))


dead_letters_app = typer.Typer(no_args_is_help=True, help="What failed for good, in a stack that runs here or on AWS.")
app.add_typer(dead_letters_app, name="dead-letters")

ErrorTypeOption = Annotated[
    str | None,
    typer.Option("--error-type", help="Only those of this error, as the list names it."),
]
MinAgeOption = Annotated[str, typer.Option("--min-age", help="Only those that are so old: seconds, 90s, 15m, 6h, 2d.")]
MaximumOption = Annotated[int, typer.Option("--max", min=1, help="So many at most.")]


@dead_letters_app.callback()
def dead_letters_main() -> None:
    """What failed for good, in a stack that runs here or on AWS."""


@dead_letters_app.command("list")
def list_dead_letters(
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = "0",
    maximum: MaximumOption = 100,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """List the dead letters: age, receives, error. They stay where they are."""
    from cli.dead_letters import Asked, run_list  # noqa: PLC0415

    _run(lambda: run_list(stack, Asked(error_type, min_age, maximum, as_json)))


@dead_letters_app.command("show")
def show_dead_letter(
    wanted_id: Annotated[str, typer.Argument(metavar="ID", help="Of the message, or of its event or file.")],
    stack: StackOption = "dev",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Show all of one dead letter, with what it carries."""
    from cli.dead_letters import run_show  # noqa: PLC0415

    _run(lambda: run_show(stack, wanted_id, as_json=as_json))


@dead_letters_app.command("redrive")
def redrive_dead_letters(
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = "0",
    maximum: MaximumOption = 100,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Send dead letters of an api or csv stack back into their queue. Exit 1 if any could not be."""
    from cli.dead_letters import Asked, run_redrive  # noqa: PLC0415

    _run(lambda: run_redrive(stack, Asked(error_type, min_age, maximum, as_json)))


@dead_letters_app.command("purge")
def purge_dead_letters(
    stack: StackOption = "dev",
    error_type: ErrorTypeOption = None,
    min_age: MinAgeOption = "0",
    maximum: MaximumOption = 100,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Delete dead letters for good. Asks first. Exit 1 if any could not be."""
    from cli.dead_letters import Asked, run_purge  # noqa: PLC0415

    _run(lambda: run_purge(stack, Asked(error_type, min_age, maximum, as_json), sure=yes))


def _run(command: Callable[[], int]) -> NoReturn:
    """Exits with the command's code; an error becomes one line (a config's: one a problem) on standard error."""
    from local.errors import LocalError  # noqa: PLC0415

    try:
        code = command()
    except LocalError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001  the user's own program raises what it likes; it is told, with its place
        sys.stderr.write(f"error: {_described(error)}\n")
        code = 1
    raise SystemExit(code)


def _described(error: Exception) -> str:
    from traceback import extract_tb  # noqa: PLC0415

    if any(kind.__name__ == "RunError" for kind in type(error).__mro__):
        # Pulumi's own kind for what the user is told as it is: file, key, value, what is allowed.
        return str(error)
    own = [
        (path.relative_to(Path.cwd()), frame.lineno)
        for frame in extract_tb(error.__traceback__)
        if (path := Path(frame.filename)).is_relative_to(Path.cwd()) and "site-packages" not in path.parts
    ]
    place = f" ({own[-1][0]}:{own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


if __name__ == "__main__":
    app()
