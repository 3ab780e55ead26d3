"""Patches to MiniStack where it differs from AWS in a way that breaks the pipeline or its security.

Only the launcher imports this module, in the emulator's own process. Keep the patches few, and say why in each.
"""

import contextvars
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from hypercorn.config import Config
from ministack import app  # type: ignore[import-untyped]
from ministack.core import (  # type: ignore[import-untyped]
    iam_actions,
    iam_evaluator,
    lambda_runtime,
    responses,
    router,
)
from ministack.services import apigateway, eventbridge, lambda_svc, s3, scheduler  # type: ignore[import-untyped]

from local import index_queries, request_bodies
from local.gate import Checks, Gate

IAM_LOG_VARIABLE = "PIPELINE_IAM_LOG"
BATCHES_AT_ONCE = 5
MOST_HEADER_BYTES = 2**17

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
_PARTIQL = (
    ("dynamodb:PartiQLInsert", re.compile(r'\s*INSERT\s+INTO\s+"?([\w.-]+)"?', re.IGNORECASE)),
    ("dynamodb:PartiQLUpdate", re.compile(r'\s*UPDATE\s+"?([\w.-]+)"?', re.IGNORECASE)),
    ("dynamodb:PartiQLDelete", re.compile(r'\s*DELETE\s+FROM\s+"?([\w.-]+)"?', re.IGNORECASE)),
    (
        "dynamodb:PartiQLSelect",
        re.compile(r'\s*(?:EXISTS\s*\(\s*)?SELECT\s.*?\sFROM\s+"?([\w.-]+)"?', re.IGNORECASE | re.DOTALL),
    ),
)


# Batch calls are authorised as the single call:
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html and list_amazonsns.html
_BATCHES = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sns:PublishBatch": "sns:Publish",
}


def apply() -> None:
    """Apply all patches to the MiniStack in this process."""
    _put_the_gate_in_front()
    _know_one_root()
    _derive_keys_of_functions_from_a_secret()
    _treat_loopback_as_tls()
    _authorise_batches_as_their_entries()
    _authorise_partiql_by_statement()
    _authorise_event_source_mappings()
    _authorise_parameters_by_arn()
    _match_line_breaks_with_wildcards()
    _keep_trailing_slashes()
    request_bodies.apply()
    index_queries.apply()
    _forbid_what_is_gone()
    _queue_asynchronous_invocations()
    _limit_batches_at_once()
    _let_a_process_fail_alone()
    _fill_in_scheduled_times()
    _show_functions_their_own_packages()
    # MiniStack looks every ten seconds, which is slow for a developer who waits for a schedule.
    scheduler._SCHEDULE_TICK_INTERVAL = 1  # noqa: SLF001
    if path := os.environ.get(IAM_LOG_VARIABLE):
        _record_decisions(path)


def serve() -> None:
    """Run MiniStack until it is stopped."""
    # Of a request that comes in pieces hypercorn takes 16 KiB of headers, and of one that comes at once any number.
    Config.h11_max_incomplete_size = MOST_HEADER_BYTES
    app.main()


def _keep_trailing_slashes() -> None:
    """`/events/` is not the route `/events` of an HTTP API.

    MiniStack drops the slash behind a path's only part.
    """
    parse = app._parse_execute_api_url  # noqa: SLF001

    def parse_execute_api_url(host: str, path: str) -> tuple[str, str, str] | None:
        parsed = parse(host, path)
        if parsed and parsed[1] != "$default" and parsed[2] == "/" and path.endswith("/"):
            return parsed[0], parsed[1], "//"
        return parsed  # type: ignore[no-any-return]

    app._parse_execute_api_url = parse_execute_api_url  # noqa: SLF001


def _put_the_gate_in_front() -> None:
    """Refuse requests of other users and of web pages (see local/gate.py).

    MiniStack accepts any `Host`, allows every origin, and serves its internal paths without credentials.
    """

    def api_of(path: str) -> str | None:
        parsed = app._parse_execute_api_url("", path)  # noqa: SLF001
        return parsed and str(parsed[0])

    def allows(api_id: str, origin: str) -> bool:
        scope = apigateway.find_api_scope(api_id)
        api = apigateway._apis.get_scoped(*scope, api_id) if scope else {}  # noqa: SLF001
        return bool(apigateway._cors_response_headers(api.get("corsConfiguration"), origin))  # noqa: SLF001

    def names_known_key(headers: Mapping[str, str], query: str) -> bool:
        key = router.extract_access_key_id(headers, parse_qs(query, keep_blank_values=True))
        found = key and iam_evaluator.resolve_credential(key, responses.get_account_id())
        return isinstance(found, iam_evaluator.ResolvedCredential)

    checks = Checks(api_of, allows, names_known_key)
    app.app = Gate(app.app, int(os.environ["GATEWAY_PORT"]), os.environ.pop("PIPELINE_PROOF"), checks)


def _know_one_root() -> None:
    """Accept only the emulator's own key as root's, and check its signature.

    MiniStack also accepts `test` and every account id, and checks no signature of root.
    """
    root, original = os.environ["AWS_ACCESS_KEY_ID"], iam_evaluator.resolve_caller_identity

    def is_root_access_key(access_key_id: str) -> bool:
        # No key at all is an anonymous call, which the gate lets through to APIs only.
        return access_key_id in ("", root)

    def resolve_caller_identity(access_key_id: str) -> dict[str, Any] | None:
        if access_key_id != root:
            found: dict[str, Any] | None = original(access_key_id)
            return found
        account = responses.get_account_id()
        arn = f"arn:aws:iam::{account}:root"
        return {"accessKey": root, "accountId": account, "userArn": arn, "userId": account, "session": None}

    iam_evaluator.is_root_access_key = is_root_access_key
    # MiniStack asks this to skip the check of a signature.
    iam_evaluator._is_root_key = lambda _access_key_id: False  # noqa: SLF001
    iam_evaluator.resolve_caller_identity = resolve_caller_identity


def _derive_keys_of_functions_from_a_secret() -> None:
    """Derive the keys of a function's role from a secret of this run.

    MiniStack derives them from the ARNs of function and role alone, which are the same in every run of a stack.
    """
    original, salt = lambda_runtime.execution_credentials, secrets.token_hex(16)

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = original({**config, "FunctionArn": f"{config['FunctionArn']}:{salt}"})
        return found

    lambda_runtime.execution_credentials = lambda_svc.execution_credentials = execution_credentials


def _treat_loopback_as_tls() -> None:
    """Treat requests on the loopback address as TLS.

    Bucket and queue policies deny plain HTTP, and the emulator speaks nothing else. The policies stay as on AWS.
    """
    original = app.pin_request_origin

    def pin_request_origin(source_ip: str, secure_transport: bool) -> None:  # noqa: FBT001  as MiniStack calls it
        original(source_ip, secure_transport or source_ip == "127.0.0.1")

    app.pin_request_origin = pin_request_origin


def _authorise_batches_as_their_entries() -> None:
    """Authorise `SendMessageBatch` as `sqs:SendMessage`, as AWS does.

    MiniStack checks an action of the call's name, which does not exist, so no policy that works on AWS works here.
    """
    original = iam_actions.extract_iam_action

    def extract_iam_action(*request: Any) -> str | None:
        action: str | None = original(*request)
        return _BATCHES.get(action or "", action)

    iam_actions.extract_iam_action = extract_iam_action


def _authorise_event_source_mappings() -> None:
    """Authorise reading, updating and deleting an event source mapping as separate actions on it, as AWS does.

    MiniStack authorises reading as listing, and does not check the others.
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
    """
    original = iam_actions.extract_iam_action
    actions = {"GET": "Get", "PUT": "Update", "DELETE": "Delete"}

    def extract_iam_action(service: str, method: str, path: str, *request: Any) -> str | None:
        folder, _, mapping = path.rstrip("/").rpartition("/event-source-mappings/")
        if service == "lambda" and folder and mapping and method in actions:
            return f"lambda:{actions[method]}EventSourceMapping"
        action: str | None = original(service, method, path, *request)
        return action

    iam_actions.extract_iam_action = extract_iam_action


def _authorise_parameters_by_arn() -> None:
    """Authorise a request for a parameter by ARN on that ARN, as AWS does.

    MiniStack takes the ARN for a name, and checks a parameter of that name.
    """
    original = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:
        resource: str = original(*request)
        _, called_by_arn, arn = resource.partition(":parameter/arn:")
        return f"arn:{arn}" if called_by_arn else resource

    iam_actions.extract_resource_arn = extract_resource_arn


def _match_line_breaks_with_wildcards() -> None:
    """Let wildcards in policies match line breaks, as AWS does: S3 keys may contain them.

    In MiniStack they stop at a line break, so no grant covers such a key, and one at the end of a key is ignored.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    original = iam_evaluator._fnmatch_compile  # noqa: SLF001

    # It is called for every statement of every decision.
    @lru_cache(maxsize=4_096)
    def compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:  # noqa: FBT001  as MiniStack calls it
        found: re.Pattern[str] = original(pattern, ignore_case)
        return re.compile(found.pattern.removesuffix("$") + r"\Z", found.flags | re.DOTALL)

    iam_evaluator._fnmatch_compile = compiled  # noqa: SLF001


def _authorise_partiql_by_statement() -> None:
    """Authorise each PartiQL statement by its kind, on its table, as AWS does.

    MiniStack checks `BatchExecuteStatement` on `*`, an action that does not exist.
    """
    original = iam_actions.dynamodb_transaction_checks

    def checks(iam_action: str, body: bytes, region: str, account_id: str) -> list[tuple[str, str]]:
        found = [
            (action, f"arn:aws:dynamodb:{region}:{account_id}:table/{table}")
            for statement in _statements(iam_action, body)
            for action, table in _authorised_as(statement)
        ]
        return found or original(iam_action, body, region, account_id)

    iam_actions.dynamodb_transaction_checks = checks


def _statements(iam_action: str, body: bytes) -> Iterator[str]:
    keys = {
        "dynamodb:ExecuteStatement": None,
        "dynamodb:BatchExecuteStatement": "Statements",
        "dynamodb:ExecuteTransaction": "TransactStatements",
    }
    if iam_action not in keys:
        return
    request = json.loads(body or b"{}")
    key = keys[iam_action]
    for entry in [request] if key is None else request.get(key, []):
        yield entry.get("Statement", "")


def _authorised_as(statement: str) -> Iterator[tuple[str, str]]:
    for action, pattern in _PARTIQL:
        if match := pattern.match(statement):
            yield action, match[1]


class _Queued(dict[str, Any]):
    """A function's record in an asynchronous invocation. `record` is the original, which MiniStack keeps."""

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__(record)
        self.record = record


def _queue_asynchronous_invocations() -> None:
    """Queue asynchronous invocations until a function is free, as AWS does.

    MiniStack starts a process for each event that finds the others busy. A burst of uploads starts dozens at once and
    overloads a small machine.
    """
    pool = ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="asynchronous")
    invoke, execute = lambda_svc.invoke_async_with_retry, lambda_svc._execute_function  # noqa: SLF001

    def invoke_async_with_retry(func: dict[str, Any], event: dict[str, Any]) -> None:
        invoke(_Queued(func), event)

    def execute_function(func: dict[str, Any], event: dict[str, Any]) -> Any:
        if not isinstance(func, _Queued):
            return execute(func, event)
        # First in, first out. The context holds the account and region of the invocation.
        return pool.submit(contextvars.copy_context().run, execute, func.record, event).result()

    lambda_svc.invoke_async_with_retry = invoke_async_with_retry
    lambda_svc._execute_function = execute_function  # noqa: SLF001


def _limit_batches_at_once() -> None:
    """Process a few batches of a queue at a time, whatever its event source mapping allows.

    Each is a process of this machine. Dozens of them time out, are killed and start again without end.
    """
    allowed = lambda_svc._sqs_esm_concurrency  # noqa: SLF001
    lambda_svc._sqs_esm_concurrency = lambda *mapping: min(allowed(*mapping), BATCHES_AT_ONCE)  # noqa: SLF001


def _let_a_process_fail_alone() -> None:
    """End only the process that did not start.

    MiniStack ends all processes of its function. Those that were starting fail too, and end the others again: on a slow
    machine a function may never work again after one process was killed while it started.
    """
    original = lambda_runtime.Worker.invoke

    def invoke(self: Any, *event: Any, **context: Any) -> Any:
        try:
            return original(self, *event, **context)
        except (RuntimeError, OSError) as error:
            lambda_runtime.kill_workers([self])
            return {"status": "error", "error": str(error)}

    lambda_runtime.Worker.invoke = invoke


def _forbid_what_is_gone() -> None:
    """Answer 403 for an object that is not there, as S3 does to those who may not list the bucket.

    MiniStack answers 404 to everybody.
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html (Permissions)
    """
    original = iam_evaluator.enforce

    def enforce(access_key_id: str, iam_action: str, service: str, region: str, *args: Any, **options: Any) -> Any:
        denied = original(access_key_id, iam_action, service, region, *args, **options)
        if denied is not None or iam_action != "s3:GetObject":
            return denied
        arn = options.get("resource_arn", args[0] if args else "*")
        name, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
        bucket = s3._buckets.get(name)  # noqa: SLF001
        if bucket is None or key in bucket["objects"]:
            return None
        return original(access_key_id, "s3:ListBucket", service, region, resource_arn=f"arn:aws:s3:::{name}")

    iam_evaluator.enforce = enforce


def _fill_in_scheduled_times() -> None:
    """Replace `<aws.scheduler.scheduled-time>` in the input of a schedule's target, as AWS does.

    MiniStack passes the input on unchanged.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    original = eventbridge._invoke_target  # noqa: SLF001

    def invoke_target(target: dict[str, Any], event: dict[str, Any], *args: Any) -> None:
        if event.get("Source") == "aws.scheduler" and "Input" in target:
            moment = datetime.fromtimestamp(event["Time"], UTC)
            filled = target["Input"].replace("<aws.scheduler.scheduled-time>", f"{moment:%Y-%m-%dT%H:%M:%SZ}")
            target = {**target, "Input": filled}
        original(target, event, *args)

    eventbridge._invoke_target = invoke_target  # noqa: SLF001


def _show_functions_their_own_packages() -> None:
    """Run functions with what Lambda's Python brings and what their layers hold, and no other package of this machine.

    MiniStack runs them in its own environment, where a package that is missing on AWS is there.
    """
    sdk = os.environ.pop("PIPELINE_SDK_PACKAGES")
    begin = (
        "import os, sys\n"
        # Without site-packages, and without the finders of editable installs.
        "if not sys.flags.no_site:\n"
        "    os.execv(sys.executable, [sys.executable, '-S', *sys.argv])\n"
        f"sdk = {sdk!r}\n"
        "sys.path.append(sdk)\n"
        # Behind the layers, as on AWS: MiniStack adds their folders at the end.
        "import site\n"
        "add = site.addsitedir\n"
        "def add_before_the_sdk(*given):\n"
        "    add(*given)\n"
        "    sys.path.remove(sdk)\n"
        "    sys.path.append(sdk)\n"
        "site.addsitedir = add_before_the_sdk\n"
    )
    lambda_runtime._PYTHON_WORKER_SCRIPT = begin + lambda_runtime._PYTHON_WORKER_SCRIPT  # noqa: SLF001


def _record_decisions(path: str) -> None:
    """Append each decision to a file, as one line of JSON: principal, action, resource, allowed.

    Tests read it to find granted actions that are not used.
    """
    original = iam_evaluator.enforce
    lock = threading.Lock()

    def enforce(access_key_id: str, iam_action: str, service: str, region: str, *args: Any, **options: Any) -> Any:
        denied = original(access_key_id, iam_action, service, region, *args, **options)
        line = {
            "principal": iam_evaluator.caller_arn(),
            "action": iam_action,
            "resource": options.get("resource_arn", args[0] if args else "*"),
            "allowed": denied is None,
        }
        with lock, Path(path).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return denied

    # app.py imports the first inside its functions and the second by name, at its top.
    iam_evaluator.enforce = enforce
    if hasattr(app, "enforce"):
        app.enforce = enforce
