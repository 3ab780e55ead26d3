"""The pages of the console: what each address shows and does."""

import difflib
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cli.console.charts import Node, Series, bar_chart, graph, line_chart
from cli.console.devices import Devices
from cli.console.events import Events, pretty
from cli.console.files import Files
from cli.console.jobs import Jobs
from cli.console.samples import samples
from cli.console.traffic import KEPT_SECONDS, Traffic
from cli.core.errors import one_line
from cli.core.http import Access, request
from cli.core.json_text import parse_object
from cli.core.logs import LogReader
from cli.core.stack import Stack
from cli.core.terminal import inert
from cli.dead_letters import dead_letters_of
from cli.letter_files import PurgeRecord
from cli.live import shown
from cli.send import read_events
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.variants.api import event_schemas
from components.variants.iot import READINGS
from handlers.api.listing import STATUSES
from handlers.shared import queues
from handlers.shared.dynamodb import TableError
from handlers.shared.errors import ApiError
from handlers.shared.letters import Found, Wanted
from handlers.shared.passes import Pass
from local.diagram import drawing
from local.errors import LocalError

_FOLDER = Path(__file__).parent
# Dead letters in a page. The command lists more.
SHOWN_LETTERS = 500
LETTER_SECONDS = 60
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
        self._access = access
        self._read_only = read_only
        self._every_seconds = every_seconds
        self._variant = stack.config.variant
        self._nodes, self._edges = drawing(stack.graph())
        self._letters = dead_letters_of(stack)
        # An iot stack's letters are records of invocations, which `pipeline replay` uploads again.
        self._queue_url = stack.outputs.get("queue_url")
        self._jobs = Jobs(self._letters, self._queue_url)
        since_ms = round((datetime.now(UTC) - timedelta(seconds=KEPT_SECONDS)).timestamp() * 1_000)
        groups = stack.outputs.get("log_groups", {})
        self._traffic = Traffic(LogReader(boto3.client("logs"), groups, since_ms), every_seconds=every_seconds)
        self._events = Events(stack) if self._variant == "api" else None
        self._files = Files(stack) if self._variant == "csv" else None
        self._devices = Devices(stack) if self._variant == "iot" else None
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"), autoescape=True, undefined=StrictUndefined
        )
        self._templates.filters |= {"visible": _visible, "clock": _clock, "pretty": pretty}

    def application(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/", self._page(self._overview)),
            Route("/nodes/{key}", self._page(self._node)),
            Route("/letters", self._page(self._letter_list)),
            Route("/letters/{id}", self._page(self._letter)),
            Route("/letters", self._act(self._start_job), methods=["POST"]),
            Route("/jobs/{number:int}/cancel", self._act(self._cancel_job), methods=["POST"]),
            Route("/send", self._page(self._send_form)),
            Mount("/static", StaticFiles(directory=_FOLDER / "static")),
        ]
        match self._variant:
            case "api":
                routes += [
                    Route("/events", self._page(self._event_list)),
                    Route("/events/{id}", self._page(self._event)),
                    Route("/send", self._form_page(self._send_event), methods=["POST"]),
                ]
            case "csv":
                routes += [
                    Route("/files", self._page(self._file_list)),
                    Route("/files/{key:path}", self._page(self._file)),
                    Route("/send", self._upload, methods=["POST"]),
                ]
            case "iot":
                routes += [
                    Route("/devices", self._page(self._device)),
                    Route("/send", self._upload, methods=["POST"]),
                ]
        return Starlette(routes=routes, exception_handlers={404: self._not_found})

    # How pages are answered

    def _page(self, view: Callable[[Request], tuple[str, Values]]) -> Callable[[Request], Response]:
        """Return an endpoint that shows a view, or only its live part when the page asks for that."""

        def show(request: Request) -> Response:
            try:
                template, values = view(request)
            except SHOWN_ERRORS as error:
                return self._error(request, error)
            return self._rendered(request, template, values)

        return show

    def _form_page(self, view: Callable[[Values], tuple[str, Values]]) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            try:
                fields = _fields(await _body(request))
                template, values = await run_in_threadpool(view, fields)
            except SHOWN_ERRORS as error:
                return self._error(request, error)
            return await run_in_threadpool(self._rendered, request, template, values)

        return show

    def _act(self, action: Callable[[Request, Values], str]) -> Callable[[Request], Any]:
        """Return an endpoint that does something, then leads to a page."""

        async def act(request: Request) -> Response:
            try:
                fields = _fields(await _body(request))
                return RedirectResponse(await run_in_threadpool(action, request, fields), status_code=303)
            except SHOWN_ERRORS as error:
                return self._error(request, error)

        return act

    def _rendered(self, request: Request, template: str, values: Values, status: int = 200) -> Response:
        whole = {"stack": self._stack.name, "variant": self._variant, "read_only": self._read_only, **values}
        whole |= {"path": request.url.path, "every_ms": round(self._every_seconds * 1_000)}
        page = self._templates.get_template(template)
        if "live" not in page.blocks or "x-live" not in request.headers:
            return HTMLResponse(page.render(whole), status)
        live = "".join(page.blocks["live"](page.new_context(whole)))
        tag = hashlib.sha256(live.encode()).hexdigest()
        if request.headers["x-live"] == tag:
            return Response(status_code=304)
        return HTMLResponse(live, status, {"X-Live": tag})

    def _error(self, request: Request, error: Exception) -> Response:
        said = (
            str(error) if isinstance(error, LocalError | ApiError | ValueError) else f"{type(error).__name__}: {error}"
        )
        values = {"title": "That did not work", "message": one_line(Exception(said))}
        return self._rendered(request, "error.html", values, 400 if isinstance(error, ApiError | ValueError) else 502)

    async def _not_found(self, request: Request, _error: Exception) -> Response:
        values = {"title": "Not found", "message": f"there is nothing at {request.url.path}"}
        return self._rendered(request, "error.html", values, 404)

    # Overview

    def _overview(self, _request: Request) -> tuple[str, Values]:
        now = self._traffic.now()
        queue, letters = self._queue_url and queues.depth(self._queue_url), self._letters.depth()
        minutes = KEPT_SECONDS // 60
        first, last = f"{minutes} minutes ago", "now"
        charts = [
            line_chart(
                "Events a second",
                [
                    Series("accepted", "accepted", now.accepted),
                    Series("succeeded", "succeeded", now.succeeded),
                    Series("failed", "failed", now.failed),
                ],
                first,
                last,
                {},
            ),
            line_chart(
                "Milliseconds until an event is done",
                [Series("median", "accepted", now.median_ms), Series("95 %", "retrying", now.p95_ms)],
                first,
                last,
                {},
            ),
        ]
        counts = {"queue": queue, "letters": letters}
        lines = [(line.function, text) for line in now.lines[-30:] for text in shown(line.message)]
        alarms = self._alarms()
        values = {
            "title": "Overview",
            "graph": graph(
                [self._box(key, counts, now.active, alarms) for key in self._nodes], self._edges, "/nodes/{}"
            ),
            "charts": charts,
            "totals": now.totals,
            "queue": queue,
            "letters": letters,
            "minutes": minutes,
            "lines": lines[-40:],
            "alarms": alarms,
        }
        return "overview.html", values

    def _alarms(self) -> list[Values]:
        """Return the alarms of this stack that ring."""
        prefix = self._stack.project.name
        found = boto3.client("cloudwatch").describe_alarms(StateValue="ALARM")["MetricAlarms"]
        own = {each.physical_name for each in self._nodes.values()}
        return [
            {"name": each["AlarmName"], "reason": each.get("StateReason", "")}
            for each in found
            if each["AlarmName"].startswith(prefix)
            or any(dimension["Value"] in own for dimension in each.get("Dimensions", []))
        ]

    def _box(self, key: str, counts: Values, active: frozenset[str], alarms: list[Values]) -> Node:
        resource = self._nodes[key]
        kind = resource.type.rpartition(":")[2]
        count = ""
        if resource.type.endswith("Queue"):
            depth = counts["letters" if resource.name.endswith("dead-letters") else "queue"]
            count = "" if depth is None else f"{depth:,}"
        # What a function works with is lit with it.
        lit = {f"pipeline-{name}-Function" for name in active}
        touched = {each for source, target, _ in self._edges for each in (source, target) if {source, target} & lit}
        is_alarmed = any(resource.physical_name in alarm["name"] for alarm in alarms)
        return Node(key, resource.name.removeprefix("pipeline-"), kind, count, key in lit | touched, is_alarmed)

    def _node(self, request: Request) -> tuple[str, Values]:
        key = request.path_params["key"]
        resource = self._nodes.get(key)
        if resource is None:
            raise LocalError(f"the stack has no resource {key!r}")
        inputs = {
            name: value if isinstance(value, str) else json.dumps(value, indent=2, default=str)
            for name, value in sorted(resource.inputs.items())
            if name != "code"
        }
        rights = [(label.split("<br/>"), target) for source, target, label in self._edges if source == key]
        return "node.html", {
            "title": resource.name,
            "resource": resource,
            "kind": resource.type,
            "inputs": inputs,
            "rights": rights,
            "callers": [source for source, target, _ in self._edges if target == key],
            "console_link": self._console_link(resource),
        }

    def _console_link(self, resource: Any) -> str | None:
        """Return the address in AWS's own console; None for a stack on this machine."""
        if self._stack.is_local:
            return None
        region, name = self._stack.project.region, resource.physical_name
        places = {
            "aws:lambda/function:Function": f"lambda/home?region={region}#/functions/{name}",
            "aws:dynamodb/table:Table": f"dynamodbv2/home?region={region}#table?name={name}",
            "aws:s3/bucket:Bucket": f"s3/buckets/{name}",
            "aws:sqs/queue:Queue": f"sqs/v3/home?region={region}",
        }
        place = places.get(resource.type)
        return place and f"https://{region}.console.aws.amazon.com/{place}"

    # Events

    def _event_list(self, request: Request) -> tuple[str, Values]:
        assert self._events is not None  # noqa: S101  the route exists for this variant only
        given = request.query_params
        if wanted := given.get("id", "").strip():
            return self._story(wanted)
        since = given.get("since", "1h")
        moment = datetime.now(UTC) - timedelta(minutes=SINCE.get(since, SINCE["1h"]))
        parameters = {"since": moment.isoformat(), "limit": "100"}
        parameters |= {name: given[name] for name in ("status", "type", "cursor") if given.get(name)}
        page = self._events.page(parameters) if self._events.are_listed else {"events": [], "cursor": None}
        values = {
            "title": "Events",
            "events": page["events"],
            "cursor": page["cursor"],
            "given": {name: given.get(name, "") for name in ("status", "type", "cursor")} | {"since": since},
            "statuses": STATUSES,
            "sinces": SINCE,
            "are_listed": self._events.are_listed,
        }
        return "events.html", values

    def _event(self, request: Request) -> tuple[str, Values]:
        return self._story(request.path_params["id"])

    def _story(self, event_id: str) -> tuple[str, Values]:
        assert self._events is not None  # noqa: S101  as above
        story = self._events.story(event_id)
        if story is None:
            raise LocalError(f"there is no event {inert(event_id)!r} in this stack")
        return "event.html", {"title": f"Event {event_id}", "story": story, "event": story.event}

    # Dead letters

    def _letter_list(self, request: Request) -> tuple[str, Values]:
        wanted = request.query_params.get("error_type") or None
        jobs = self._jobs.all()
        is_running = any(job.state == "running" for job in jobs)
        # A look hides letters for a moment, from a job too: only a person looks, and not while one runs.
        looks = not is_running and "x-live" not in request.headers
        letters: list[dict[str, Any]] = []
        done = Pass({})
        if looks:
            letters, done = self._letters.look(Wanted(wanted), SHOWN_LETTERS, LETTER_SECONDS)
        if done.error is not None:
            raise LocalError(one_line(done.error))
        groups: dict[str, list[Values]] = {}
        for letter in letters:
            groups.setdefault(letter["error_type"], []).append(letter)
        values = {
            "title": "Dead letters",
            "groups": sorted(groups.items(), key=lambda group: -len(group[1])),
            "done": done,
            "wanted": wanted,
            "jobs": jobs,
            "is_running": is_running,
            "looks": looks,
            "can_redrive": self._queue_url is not None,
        }
        return "letters.html", values

    def _letter(self, request: Request) -> tuple[str, Values]:
        found, _done = self._letters.find(request.path_params["id"], LETTER_SECONDS)
        if found is None:
            raise LocalError(
                f"there is no dead letter {inert(request.path_params['id'])!r}; it may be on its way again"
            )
        return "letter.html", {
            "title": "Dead letter",
            "letter": {**found.described(), "error": found.cause.error},
            "body": pretty(found.letter.body),
            "event": _event_of(found) if self._variant == "api" else None,
            "can_redrive": self._queue_url is not None,
        }

    def _start_job(self, _request: Request, fields: Values) -> str:
        kind = fields.get("kind")
        if kind not in ("redrive", "purge") or (kind == "redrive" and self._queue_url is None):
            raise ValueError("a job is a redrive or a purge")
        if message_id := fields.get("message_id"):
            return self._move_one(kind, message_id)
        if kind == "purge" and fields.get("sure") != "purge":
            raise ValueError("to delete dead letters permanently, write purge into the field beside the button")
        a_second = fields.get("a_second", "50")
        if not a_second.isdecimal() or not 1 <= int(a_second) <= 1_000:  # noqa: PLR2004  the limits of the form
            raise ValueError("the pace must be a whole number from 1 to 1000 a second")
        wanted = Wanted(fields.get("error_type") or None)
        if kind == "redrive":
            self._jobs.start(kind, wanted.error_type, int(a_second))
        else:
            record = self._purge_begins(wanted)
            self._jobs.start(kind, wanted.error_type, int(a_second), lambda count: record.ended({"deleted": count}))
        return "/letters"

    def _purge_begins(self, wanted: Wanted) -> PurgeRecord:
        """Record who purges, before anything is deleted. Raises LocalError."""
        record = PurgeRecord(self._stack, wanted, None)
        record.begins()
        return record

    def _move_one(self, kind: str, message_id: str) -> str:
        wanted = Wanted(id=message_id)
        if kind == "redrive":
            done = self._letters.redrive(str(self._queue_url), wanted, 1, LETTER_SECONDS)
        else:
            record = self._purge_begins(wanted)
            done = self._letters.purge(wanted, 1, LETTER_SECONDS)
            record.ended(done.counts)
        if done.error is not None or done.failed:
            raise LocalError(one_line(done.error) if done.error else "SQS refused to move the message; try again")
        return "/letters"

    def _cancel_job(self, request: Request, _fields: Values) -> str:
        self._jobs.cancel(request.path_params["number"])
        return "/letters"

    # Send

    def _send_form(self, request: Request) -> tuple[str, Values]:
        if self._variant != "api":
            return "upload.html", {"title": "Send", "prefix": self._prefix(), "is_csv": self._variant == "csv"}
        found = samples(event_schemas(self._stack.config_as(ApiPipelineConfig).api)) or {"": '{\n  "data": "text"\n}'}
        name = request.query_params.get("type", next(iter(found)))
        return "send.html", _form(found.get(name, "{}"), found=list(found))

    def _send_event(self, fields: Values) -> tuple[str, Values]:
        text, original = fields.get("event", ""), fields.get("original", "")
        answer = None
        try:
            events = read_events(text, "the event")
            if fields.get("action") == "send":
                url = f"{self._stack.output('api_url')}/events"
                body = events[0] if len(events) == 1 else f"[{','.join(events)}]"
                answer = request("POST", url, body, access=self._access)
            problem = ""
        except LocalError as error:
            problem = str(error)
        sent = answer.json if answer and isinstance(answer.json, dict) else {}
        ids = [sent["id"]] if "id" in sent else [each["id"] for each in sent.get("results", []) if "id" in each]
        return "send.html", {
            **_form(text, original=original),
            "problem": problem,
            "difference": _difference(original, text),
            "answer": answer,
            "answer_text": pretty(answer.text) if answer else "",
            "ids": ids,
        }

    def _prefix(self) -> str:
        return self._stack.config_as(CsvPipelineConfig).input.prefix if self._files else READINGS

    async def _upload(self, request: Request) -> Response:
        """Take a file as the body of a request, and put it into the bucket."""
        try:
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

    # Files and devices

    def _file_list(self, request: Request) -> tuple[str, Values]:
        assert self._files is not None  # noqa: S101  as above
        name = request.query_params.get("name", "")
        files, has_more = self._files.newest(name)
        return "files.html", {"title": "Files", "files": files, "has_more": has_more, "name": name}

    def _file(self, request: Request) -> tuple[str, Values]:
        assert self._files is not None  # noqa: S101  as above
        report = self._files.report(request.path_params["key"])
        if report is None:
            raise LocalError(f"there is no report {request.path_params['key']!r}")
        reasons = [
            (f"{each['column'] or '(row)'}: {each['reason']}", float(each["count"])) for each in report["reasons"][:20]
        ]
        names = ("count", "nulls", "distinct", "sum", "avg", "min", "max")
        return "file.html", {
            "title": report["key"],
            "report": report,
            "chart": bar_chart("Rejected rows by reason", reasons) if reasons else None,
            "measures": names,
        }

    def _device(self, request: Request) -> tuple[str, Values]:
        assert self._devices is not None  # noqa: S101  as above
        device_id = request.query_params.get("id", "").strip()
        device = self._devices.device(device_id) if device_id else None
        names = [] if device else self._devices.names(device_id)
        return "devices.html", {"title": "Devices", "device": device, "device_id": device_id, "names": names}


def _event_of(found: Found) -> str | None:
    """Return the client's event in a dead letter, as text to edit; None if it holds none."""
    try:
        data = parse_object(found.letter.body, "the letter").get("data")
    except LocalError:
        return None
    return None if data is None else _editable(data)


def _editable(data: object) -> str:
    """Return JSON to edit: readable, with unprintable characters as JSON's own escapes."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def _form(text: str, *, original: str = "", found: list[str] | None = None) -> dict[str, Any]:
    given = {"title": "Send", "event": text, "original": original, "types": found or []}
    return {**given, "problem": "", "difference": [], "answer": None, "answer_text": "", "ids": []}


def _difference(before: str, after: str) -> list[str]:
    if not before:
        return []
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "dead letter", "edited", lineterm="")
    return list(lines)[:500]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise ValueError("the form is larger than what a function takes")
    return bytes(body)


def _fields(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def _visible(text: object) -> str:
    """Return a text with unprintable characters, and marks that turn its direction, as escapes. Lines stay lines."""
    return "\n".join(inert(line) for line in str(text).split("\n"))


def _clock(moment: object) -> str:
    """Return a time as people read it, to the millisecond, in UTC."""
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return found.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
