"""The pages of the console: what each address shows and does."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import boto3
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cli.console.charts import bar_chart
from cli.console.devices import Devices
from cli.console.events import Events
from cli.console.files import Files
from cli.console.letters import Letters
from cli.console.overview import Overview
from cli.console.sending import Sending
from cli.console.texts import age, clock, pretty, visible
from cli.core.errors import one_line
from cli.core.http import Access
from cli.core.stack import Stack
from cli.core.terminal import inert
from cli.dead_letters import dead_letters_of
from cli.letter_files import PurgeRecord
from components.options.csv import CsvPipelineConfig
from components.variants.iot import READINGS
from handlers.api.listing import STATUSES
from handlers.shared.dynamodb import TableError
from handlers.shared.errors import ApiError
from local.errors import LocalError

_FOLDER = Path(__file__).parent
# A function takes 6 MB, and a form doubles what it escapes.
FORM_BYTES = 20_000_000
SINCE = {"15m": 15, "1h": 60, "6h": 360, "1d": 1_440, "7d": 10_080}

# What the pages show as an error: services that refuse or do not answer, and input that they do not take.
SHOWN_ERRORS = (LocalError, BotoCoreError, ClientError, TableError, ApiError, ValueError)

Values = Mapping[str, Any]


class Console:
    """The pages of a stack. Its AWS clients must be aimed already; `every_seconds` is how often a page asks again."""

    def __init__(self, stack: Stack, access: Access, *, read_only: bool, every_seconds: float) -> None:
        self._stack = stack
        self._read_only = read_only
        self._every_seconds = every_seconds
        self._variant = stack.config.variant
        graph, letters = stack.graph(), dead_letters_of(stack)
        self._overview = Overview(stack, graph, letters, every_seconds=every_seconds)
        # An iot stack's letters are records of invocations, which `pipeline replay` uploads again.
        self._letters = Letters(
            letters,
            stack.outputs.get("queue_url"),
            self._variant,
            lambda wanted: PurgeRecord(stack, wanted, None),
            stack.refuse_ended,
        )
        is_api = self._variant == "api"
        self._events = Events(stack) if is_api else None
        self._sending = Sending(stack, graph, access) if is_api else None
        self._files = Files(stack) if self._variant == "csv" else None
        self._devices = Devices(stack) if self._variant == "iot" else None
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters |= {"visible": visible, "clock": clock, "pretty": pretty, "age": age}

    def application(self) -> Starlette:
        """Return the ASGI application."""
        letters = self._letters
        routes = [
            Route("/", self._page("overview.html", lambda asked: self._overview.page(_root(asked)))),
            Route("/nodes/{key}", self._page("node.html", lambda asked: self._overview.node(asked.path_params["key"]))),
            Route("/letters", self._page("letters.html", self._letter_list)),
            Route("/letters/{id}", self._page("letter.html", lambda asked: letters.one(asked.path_params["id"]))),
            Route("/letters", self._act(lambda _, fields: letters.act(fields)), methods=["POST"]),
            Route(
                "/jobs/{number:int}/cancel",
                self._act(lambda asked, _: letters.cancel(asked.path_params["number"])),
                methods=["POST"],
            ),
            Mount("/static", StaticFiles(directory=_FOLDER / "static")),
        ]
        match self._variant:
            case "api":
                routes += [
                    Route("/events", self._found(self._page("events.html", self._event_list))),
                    Route("/events/{id}", self._page("event.html", self._event)),
                    Route("/send", self._page("send.html", self._send_form)),
                    Route("/send", self._form_page("send.html", self._send), methods=["POST"]),
                ]
            case "csv":
                routes += [
                    Route("/files", self._page("files.html", self._file_list)),
                    Route("/files/{key:path}", self._page("file.html", self._file)),
                ]
            case "iot":
                routes.append(Route("/devices", self._page("devices.html", self._device)))
        if self._variant != "api":
            routes += [
                Route("/send", self._page("upload.html", self._upload_form)),
                Route("/send", self._upload, methods=["POST"]),
            ]
        handlers: Any = {404: self._not_found, 405: self._not_found, Exception: self._unforeseen}
        return Starlette(routes=routes, exception_handlers=handlers)

    def stop(self) -> None:
        """End what goes on without a page."""
        self._letters.stop()

    # How pages are answered

    def _page(self, template: str, view: Callable[[Request], Values]) -> Callable[[Request], Response]:
        """Return an endpoint that shows a view, or only its live part when the page asks for that."""

        def show(request: Request) -> Response:
            try:
                self._stack.refuse_ended()
                values = view(request)
            except SHOWN_ERRORS as error:
                return self._error(request, error)
            return self._rendered(request, template, values)

        return show

    def _found(self, show: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """Return an endpoint that leads a search for an id to the page of the event."""

        def find(request: Request) -> Response:
            wanted = request.query_params.get("id", "").strip()
            return (
                RedirectResponse(f"{_root(request)}/events/{quote(wanted, safe='')}", 303) if wanted else show(request)
            )

        return find

    def _form_page(self, template: str, view: Callable[[Values], Values]) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            try:
                self._stack.refuse_ended()
                values = await run_in_threadpool(view, await _fields(request))
            except SHOWN_ERRORS as error:
                return self._error(request, error)
            return await run_in_threadpool(self._rendered, request, template, values)

        return show

    def _act(self, action: Callable[[Request, Values], object]) -> Callable[[Request], Any]:
        """Return an endpoint that does something with dead letters, then leads to them."""

        async def act(request: Request) -> Response:
            try:
                self._stack.refuse_ended()
                await run_in_threadpool(action, request, await _fields(request))
            except SHOWN_ERRORS as error:
                return self._error(request, error)
            return RedirectResponse(f"{_root(request)}/letters", status_code=303)

        return act

    def _rendered(self, request: Request, template: str, values: Values, status: int = 200) -> Response:
        whole = {"stack": self._stack.name, "variant": self._variant, "read_only": self._read_only, **values}
        whole |= {"root": _root(request), "path": _path(request), "every_ms": round(self._every_seconds * 1_000)}
        whole["is_local"] = self._stack.is_local
        page = self._templates.get_template(template)
        if "live" not in page.blocks or "x-live" not in request.headers:
            return HTMLResponse(page.render(whole), status)
        live = "".join(page.blocks["live"](page.new_context(whole)))
        tag = hashlib.sha256(live.encode()).hexdigest()
        if request.headers["x-live"] == tag:
            return Response(status_code=304)
        return HTMLResponse(live, status, {"X-Live": tag})

    def _error(self, request: Request, error: Exception) -> Response:
        is_own = isinstance(error, LocalError | ApiError | ValueError)
        said = str(error) if is_own else f"{type(error).__name__}: {error}"
        if isinstance(error, EndpointConnectionError) and self._stack.is_local:
            name = self._stack.name
            said = f"stack {name!r} does not answer; if its pipeline was stopped, start it and the console again"
        values = {"title": "That did not work", "message": one_line(Exception(said))}
        return self._rendered(request, "error.html", values, 400 if isinstance(error, ApiError | ValueError) else 502)

    async def _not_found(self, request: Request, _error: Exception) -> Response:
        values = {"title": "Not found", "message": f"there is nothing at {_path(request)}"}
        return self._rendered(request, "error.html", values, 404)

    async def _unforeseen(self, request: Request, error: Exception) -> Response:
        """Answer for a fault of the console itself, which the server prints with its traceback, too."""
        said = f"the console failed: {type(error).__name__}: {error}"
        message = f"{one_line(Exception(said))}; the traceback is in the terminal where it runs. Other pages may work."
        return self._rendered(request, "error.html", {"title": "A fault of the console", "message": message}, 500)

    # Events

    def _event_list(self, request: Request) -> Values:
        assert self._events is not None  # noqa: S101  the route exists for this variant only
        given = request.query_params
        since = given["since"] if given.get("since") in SINCE else "1h"
        # A field for date and time has no zone; the page says that it is UTC.
        until = given.get("until", "")
        parameters = {"until": f"{until}Z"} if until else {}
        try:
            end = datetime.fromisoformat(f"{until}Z") if until else datetime.now(UTC)
        except ValueError:
            end = datetime.now(UTC)
        parameters |= {"since": (end - timedelta(minutes=SINCE[since])).isoformat(), "limit": "100"}
        parameters |= {name: given[name] for name in ("status", "type", "cursor") if given.get(name)}
        page = self._events.page(parameters) if self._events.are_listed else {"events": [], "cursor": None}
        return {
            "title": "Events",
            "events": page["events"],
            "cursor": page["cursor"],
            "given": {name: given.get(name, "") for name in ("status", "type", "cursor", "until")} | {"since": since},
            "statuses": STATUSES,
            "sinces": SINCE,
            "are_listed": self._events.are_listed,
        }

    def _event(self, request: Request) -> Values:
        assert self._events is not None  # noqa: S101  as above
        event_id = request.path_params["id"]
        story = self._events.story(event_id)
        if story is None:
            raise LocalError(f"there is no event {inert(event_id)!r} in this stack")
        return {"title": f"Event {event_id}", "story": story, "event": story.event}

    # Send

    def _send_form(self, request: Request) -> Values:
        assert self._sending is not None  # noqa: S101  as above
        assert self._events is not None  # noqa: S101  as above
        if event_id := request.query_params.get("again"):
            return self._sending.again(event_id, self._events.body(event_id))
        return self._sending.sample(request.query_params.get("type"))

    def _send(self, fields: Values) -> Values:
        assert self._sending is not None  # noqa: S101  as above
        text, original = fields.get("event", ""), fields.get("original", "")
        return self._sending.checked(text, original, send=fields.get("action") == "send")

    def _prefix(self) -> str:
        return self._stack.config_as(CsvPipelineConfig).input.prefix if self._files else READINGS

    def _upload_form(self, _request: Request) -> Values:
        sample, suffix = self._devices.sample() if self._devices else ("", "")
        values = {"title": "Send", "prefix": self._prefix(), "is_csv": self._files is not None}
        return {**values, "sample": sample, "suffix": suffix}

    async def _upload(self, request: Request) -> Response:
        """Take a file as the body of a request, and put it into the bucket."""
        try:
            self._stack.refuse_ended()
            name = request.query_params.get("name", "")
            if not name or "/" in name or not name.isprintable():
                raise ValueError("the file needs a name without /")
            with tempfile.TemporaryFile() as file:
                async for part in request.stream():
                    file.write(part)
                file.seek(0)
                bucket = self._stack.output("input_bucket")
                await run_in_threadpool(boto3.client("s3").upload_fileobj, file, bucket, f"{self._prefix()}{name}")
        except SHOWN_ERRORS as error:
            return self._error(request, error)
        return Response(f"{self._prefix()}{name}", media_type="text/plain")

    # Dead letters, files and devices

    def _letter_list(self, request: Request) -> Values:
        wanted = request.query_params.get("error_type") or None
        looks = "x-live" not in request.headers
        return self._letters.list(wanted, looks=looks, counts_all=request.query_params.get("count") == "all")

    def _file_list(self, request: Request) -> Values:
        assert self._files is not None  # noqa: S101  as above
        return self._files.page(request.query_params)

    def _file(self, request: Request) -> Values:
        assert self._files is not None  # noqa: S101  as above
        report = self._files.report(request.path_params["key"])
        if report is None:
            raise LocalError(f"there is no report {request.path_params['key']!r}")
        reasons = [
            (f"{each['column'] or '(row)'}: {each['reason']}", float(each["count"])) for each in report["reasons"][:20]
        ]
        return {
            "title": report["key"],
            "report": report,
            "chart": bar_chart("Rejected rows by reason", reasons) if reasons else None,
            "measures": ("count", "nulls", "distinct", "sum", "avg", "min", "max"),
        }

    def _device(self, request: Request) -> Values:
        assert self._devices is not None  # noqa: S101  as above
        device_id = request.query_params.get("id", "").strip()
        device = self._devices.device(device_id) if device_id else None
        names = [] if device else self._devices.names(device_id)
        return {"title": "Devices", "device": device, "device_id": device_id, "names": names}


def _root(request: Request) -> str:
    """Return what the path of each page begins with: a secret of the run, see cli/console/gate.py."""
    return str(request.scope["root_path"])


def _path(request: Request) -> str:
    return str(request.scope["path"]).removeprefix(_root(request))


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises ValueError for one that is too large, or no UTF-8."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise ValueError("the form is larger than what a function takes")
    return dict(parse_qsl(body.decode(), keep_blank_values=True))
