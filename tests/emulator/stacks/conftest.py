"""Whole pipelines in the emulator: the real program, IAM enforced, functions in processes of their own, real HTTP."""

import io
import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.code import zip_bytes
from local.engine import Running, running
from local.project import load_project
from local.services import Clients
from tests.graphs import SAMPLES

ROOT = Path(__file__).parents[3]

Json = Any

# A webhook with two secrets, as while one is rotated, and their values.
SECRETS = {"webhook_shop": "a dummy value", "webhook_shop_2": "another dummy value"}
WEBHOOKS = {
    "shop": {
        "signature": "github",
        "secrets": [f"arn:aws:ssm:us-east-1:123456789012:parameter/shop/{number}" for number in range(2)],
        "challenge": {"parameter": "challenge"},
    }
}


@dataclass
class Client:
    """A client of a running pipeline."""

    up: Running

    def __post_init__(self) -> None:
        self.aws = Clients(self.up.emulator)
        self.outputs = self.up.outputs
        # A csv stack has one for redrive, an iot stack none.
        self.api_url = self.outputs.get("api_url") or self.outputs.get("redrive_api_url", "")

    def request(
        self,
        method: str,
        path: str,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> tuple[int, Json]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.api_url + path,
            data=data,
            method=method,
            headers={"Content-Type": "application/json", **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def signed(self, method: str, path: str, body: Json = None, keys: Credentials | None = None) -> tuple[int, Json]:
        """A request with a signature of AWS credentials: root's, unless others are given."""
        root = self.up.emulator.keys
        keys = keys or Credentials(root.access_key, root.secret_key)
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = AWSRequest(method, self.api_url + path, data=data, headers=headers)
        SigV4Auth(keys, "execute-api", self.up.project.region).add_auth(request)
        return self.request(method, path, headers=dict(request.headers.items()), raw=data)

    def post(self, body: Json, headers: Mapping[str, str] | None = None) -> tuple[int, Json]:
        return self.request("POST", "/events", body, headers)

    def shown(self, event_id: str) -> Json:
        return self.request("GET", f"/events/{event_id}")[1]

    def finished(self, event_id: str, seconds: float = 60) -> Json:
        """The event once it is done."""
        done = ("succeeded", "failed")
        return self.until(lambda: (shown := self.shown(event_id))["status"] in done and shown, seconds)

    def until(self, holds: Callable[[], Any], seconds: float = 60) -> Any:
        """Return the answer of `holds` as soon as it is true. Fails when time is up."""
        deadline = time.monotonic() + seconds
        while not (value := holds()):
            assert time.monotonic() < deadline, f"not in {seconds} seconds"
            time.sleep(0.05)
        return value

    def items(self) -> dict[str, dict[str, str]]:
        pages = self.aws("dynamodb").get_paginator("scan").paginate(TableName=self.outputs["table_name"])
        return {
            item["id"]["S"]: {name: next(iter(value.values())) for name, value in item.items()}
            for page in pages
            for item in page["Items"]
            # When there was an alert of each kind, and the secret of ids, are no events.
            if not item["id"]["S"].startswith(("alert#", "secret#"))
        }

    def objects(self, prefix: str) -> list[str]:
        pages = (
            self.aws("s3").get_paginator("list_objects_v2").paginate(Bucket=self.outputs["bucket_name"], Prefix=prefix)
        )
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def depth(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in attributes.values())

    def use_processor(self, file: str, code: str) -> None:
        """Puts another processor into the place of the stack's own."""
        for function in self.up.engine.functions:
            archive = io.BytesIO()
            with (
                # The archive's paths are relative to the project.
                chdir(self.up.project.directory),
                zipfile.ZipFile(io.BytesIO(zip_bytes(function.archive))) as old,
                zipfile.ZipFile(archive, "w") as new,
            ):
                for name in old.namelist():
                    new.writestr(name, code if name == file else old.read(name))
            self.aws("lambda").update_function_code(FunctionName=function.name, ZipFile=archive.getvalue())

    def inbox(self, topic: str = "alerts") -> str:
        """A queue that gets a copy of every alert, or of what another topic of the stack's outputs sends."""
        sqs = self.aws("sqs")
        url = sqs.create_queue(QueueName=f"inbox-{topic}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        self.aws("sns").subscribe(TopicArn=self.outputs[f"{topic}_topic_arn"], Protocol="sqs", Endpoint=arn)
        return str(url)


Start = Callable[..., AbstractContextManager[Client]]


@pytest.fixture(scope="session")
def start() -> Start:
    """Return a function that starts a stack with other options for a block."""

    @contextmanager
    def up(stack: str = "dev", **config: Any) -> Iterator[Client]:
        with running(load_project(SAMPLES, stack).with_config(config), secret_values=SECRETS) as pipeline:
            yield Client(pipeline)

    return up


@pytest.fixture(scope="session")
def dev(start: Start) -> Iterator[Client]:
    """The dev stack with a shorter back-off, so that tests need not wait."""
    backoff = {"base_seconds": 1, "maximum_seconds": 1}
    with start(
        worker={"timeout_seconds": 10, "backoff": backoff, "max_attempts": 3},
        queue={"redrive_api": {}},
        webhooks=WEBHOOKS,
    ) as client:
        yield client
