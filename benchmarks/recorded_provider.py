"""A provider plugin for Pulumi's engine that keeps resources in memory, and answers as the recorder does.

The engine finds it by the variable PULUMI_DEBUG_PROVIDERS. It replaces a resource when an input changes that
local/provider.py names, refuses what the table there refuses, and fails for a type that local/answers.py does not know.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN

from local.answers import ANSWERS
from local.arns import ARNS, Scope
from local.errors import LocalError
from local.invokes import answer
from local.naming import NAMED, physical_name
from local.provider import RULES, refusals
from local.recording import ACCOUNT


@dataclass
class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The plugin. `done` has each operation with the URN, in order; `there` the resources that exist."""

    region: str = "us-east-1"
    done: list[tuple[str, str]] = field(default_factory=list)
    there: dict[str, str] = field(default_factory=dict)

    # The engine calls these by their protocol names. Pulumi's provider.proto documents them.
    # ruff: noqa: D102, N802, ARG002

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=version("pulumi-aws"))

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema="{}")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:
        found = struct_pb2.Struct()
        found.update(answer(request.tok, ACCOUNT, self.region))
        return provider_pb2.InvokeResponse(**{"return": found})

    def Check(self, request: Any, context: Any) -> Any:
        kind, name = _parts(request.urn)
        inputs = struct_pb2.Struct()
        inputs.CopyFrom(request.news)
        plain = _plain(inputs)
        failures = [provider_pb2.CheckFailure(reason=text) for text in refusals(kind, plain)]
        if kind not in ANSWERS:
            failures.append(provider_pb2.CheckFailure(reason=f"{kind} is not in local/answers.py"))
        if kind in NAMED and (key := NAMED[kind][0]) not in plain:
            # A name stays while the resource is the same; the provider's own names are random, these follow the URN.
            inputs[key] = physical_name(kind, name, request.urn, plain)
        return provider_pb2.CheckResponse(inputs=inputs, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        kind, _ = _parts(request.urn)
        old, new = _plain(request.old_inputs), _plain(request.news)
        ignored = set(request.ignoreChanges)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in ignored)
        kinds = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(
            changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE,
            diffs=changed,
            replaces=sorted(RULES[kind].replaces.intersection(changed)),
        )

    def Create(self, request: Any, context: Any) -> Any:
        made, outputs = self._made(request.urn, request.properties, preview=request.preview)
        if request.preview:
            return provider_pb2.CreateResponse(properties=outputs)
        self.done.append(("create", request.urn))
        self.there[request.urn] = made
        return provider_pb2.CreateResponse(id=made, properties=outputs)

    def Update(self, request: Any, context: Any) -> Any:
        if not request.preview:
            self.done.append(("update", request.urn))
        return provider_pb2.UpdateResponse(properties=self._made(request.urn, request.news)[1])

    def Delete(self, request: Any, context: Any) -> Any:
        self.done.append(("delete", request.urn))
        self.there.pop(request.urn, None)
        return empty_pb2.Empty()

    def Read(self, request: Any, context: Any) -> Any:
        there = self.there.get(request.urn) == request.id
        return provider_pb2.ReadResponse(
            id=request.id if there else "", properties=request.properties, inputs=request.inputs
        )

    def _made(self, urn: str, properties: Any, *, preview: bool = False) -> tuple[str, Any]:
        """Return the id and all outputs of a resource, as the recorder makes them up; in a preview they are unknown."""
        kind, name = _parts(urn)
        plain = _plain(properties)
        scope = Scope(ACCOUNT, self.region)
        physical = str(plain[NAMED[kind][0]]) if kind in NAMED else name
        created = ANSWERS[kind](scope, physical, plain)
        outputs = struct_pb2.Struct()
        outputs.CopyFrom(properties)
        more = {
            "region": self.region,
            **({"arn": ARNS[kind](scope, physical)} if kind in ARNS else {}),
            **created.outputs,
        }
        outputs.update({name: UNKNOWN if preview and name not in plain else value for name, value in more.items()})
        return created.id, outputs


def _parts(urn: str) -> tuple[str, str]:
    types, name = urn.split("::", 3)[2:]
    return types.rpartition("$")[2], name


def _plain(properties: Any) -> dict[str, Any]:
    """Return a Struct as plain values, with whole numbers as int."""
    return dict(_whole(json_format.MessageToDict(properties)))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return value


@contextmanager
def served(provider: Provider) -> Iterator[int]:
    """Serve a provider on a port of 127.0.0.1."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 100 * 2**20)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    if not port:
        raise LocalError("no free port for the provider")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait()
