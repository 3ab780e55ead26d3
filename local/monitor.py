"""The resource monitor: the part of Pulumi's engine that a program talks to.

The SDK sends protocol-buffer requests. The monitor turns each registration into plain Python, asks a backend to create
the resource and returns the outputs. It also does the real engine's work: URNs, default tags, transforms, and an error
where a value is missing.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, struct_pb2  # type: ignore[import-untyped]
from pulumi.output import Unknown
from pulumi.runtime import rpc
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

from local.errors import LocalError
from local.invokes import answer
from local.naming import physical_name
from local.project import Project
from local.provider import refusals

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"

# Without RESOURCE_REFERENCES: with it, the SDK calls getResource, which nothing here needs.
FEATURES = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    resource_pb2.RESOURCE_MONITOR_FEATURE_TRANSFORMS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_INVOKE_TRANSFORMS,
)


@dataclass(frozen=True)
class Registration:
    """A resource that the program registers.

    `inputs` are plain values by wire name (camelCase), without the wrapping of secrets and with whole numbers as int;
    assets stay live objects. `physical_name` is its name on AWS. `tags` are its own tags above the provider's default
    tags. `position` is its line in the program, `components/queue.py:31`. `retained` means that `pulumi destroy` leaves
    it. `ignored_changes` are inputs that `pulumi up` does not change.
    """

    type: str
    name: str
    urn: str
    custom: bool
    parent: str
    inputs: Mapping[str, Any]
    dependencies: tuple[str, ...]
    position: str
    physical_name: str
    tags: Mapping[str, str]
    retained: bool
    ignored_changes: tuple[str, ...]

    def __str__(self) -> str:
        """Return its name for errors."""
        return f"{self.type} {self.name!r} ({self.position})"


@dataclass(frozen=True)
class Created:
    """A created resource: its id, and the outputs beside its inputs."""

    id: str
    outputs: Mapping[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """A place to create resources in. Called from several threads at once."""

    account: str
    deployed: Mapping[str, Any]
    """Resources of the last deployment: `type` and `outputs` by URN."""

    def create(self, registration: Registration) -> Created:
        """Create a custom resource. Raises LocalError on failure."""

    def component(self, registration: Registration) -> None:
        """Record a component resource, which exists in the program only."""


class Monitor:
    """The resource monitor of one run of a program."""

    def __init__(self, project: Project, backend: Backend) -> None:
        self._project = project
        self._backend = backend
        self._lock = threading.Lock()
        self._types: dict[str, str] = {}
        self._parents: dict[str, str] = {}
        self._outputs: dict[str, set[str]] = {}
        self._default_tags: dict[str, Mapping[str, str]] = {}
        self._transforms: dict[str, list[callback_pb2.Callback]] = {"": []}
        self.error: Exception | None = None
        self.stack_outputs: dict[str, Any] = {}

    # The SDK calls these by their protocol names. Pulumi's resource.proto documents them.
    # ruff: noqa: D102

    def GetDeploymentInfo(self, _request: object) -> resource_pb2.DeploymentInfo:  # noqa: N802
        return resource_pb2.DeploymentInfo(supportedFeatures=FEATURES)

    def RegisterResource(  # noqa: N802
        self,
        request: resource_pb2.RegisterResourceRequest,
    ) -> resource_pb2.RegisterResourceResponse:
        with self._first_error():
            return self._register(request)

    def RegisterResourceOutputs(  # noqa: N802
        self,
        request: resource_pb2.RegisterResourceOutputsRequest,
    ) -> empty_pb2.Empty:
        with self._first_error():
            if self._types[request.urn] == STACK_TYPE:
                outputs = _plain(rpc.deserialize_properties(request.outputs, keep_unknowns=True))
                for key, value in outputs.items():
                    if _unknown_path(value) is not None:
                        raise LocalError(
                            f"the stack output {key!r} is unknown: no resource provides the output it needs"
                        )
                self.stack_outputs = outputs
        return empty_pb2.Empty()

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:  # noqa: N802
        with self._first_error():
            found = struct_pb2.Struct()
            found.update(self._invoked(request.tok))
            return resource_pb2.ResourceInvokeResponse(**{"return": found})

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:  # noqa: N802
        with self._first_error():
            raise LocalError(f"{request.type} {request.name!r}: the local pipeline cannot read existing resources")

    def RegisterStackTransform(self, request: callback_pb2.Callback) -> empty_pb2.Empty:  # noqa: N802
        self._transforms[""].append(request)
        return empty_pb2.Empty()

    def SignalAndWaitForShutdown(self, _request: object) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()

    # The work behind the requests

    @contextlib.contextmanager
    def _first_error(self) -> Iterator[None]:
        """Keep the first error. Those that follow are its consequences."""
        if self.error is not None:
            raise self.error
        try:
            yield
        except Exception as error:
            with self._lock:
                self.error = self.error or error
            raise

    def _register(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:
        urn = self._urn(request.type, request.name, request.parent)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        self._transforms[urn] = list(request.transforms)
        properties, more_dependencies = self._transformed(urn, request)
        registration = self._registration(urn, request, properties, more_dependencies)
        if not request.custom:
            self._backend.component(registration)
            return resource_pb2.RegisterResourceResponse(urn=urn, object=properties)
        if request.type.startswith(PROVIDER_PREFIX):
            self._default_tags[urn] = _default_tags(registration.inputs.get("defaultTags"))
            return resource_pb2.RegisterResourceResponse(urn=urn, id=request.name, object=properties)
        self._refuse_unknown(registration, request)
        if refused := "; ".join(refusals(registration.type, registration.inputs)):
            raise LocalError(f"{registration}: Pulumi's AWS provider would refuse it: {refused}")
        try:
            created = self._backend.create(registration)
        except LocalError as error:
            raise LocalError(f"{registration}: {error}") from error
        outputs = struct_pb2.Struct()
        outputs.CopyFrom(properties)
        outputs.update({**created.outputs, **({"tagsAll": dict(registration.tags)} if registration.tags else {})})
        self._outputs[urn] = {"id", *outputs.fields}
        # `unknown` makes the SDK treat a missing output as unknown instead of None.
        return resource_pb2.RegisterResourceResponse(urn=urn, id=created.id, object=outputs, unknown=True)

    def _urn(self, kind: str, name: str, parent: str) -> str:
        parent_kind = parent.split("::")[2] if parent else STACK_TYPE
        qualified = kind if parent_kind == STACK_TYPE else f"{parent_kind}${kind}"
        urn = f"urn:pulumi:{self._project.stack}::{self._project.name}::{qualified}::{name}"
        with self._lock:
            if urn in self._types:
                raise LocalError(
                    f"{kind} {name!r} is registered twice; a name must be unique for its type below its parent"
                )
            self._types[urn], self._parents[urn] = kind, parent
        return urn

    def _transformed(
        self,
        urn: str,
        request: resource_pb2.RegisterResourceRequest,
    ) -> tuple[struct_pb2.Struct, list[str]]:
        """Return inputs and dependencies after the transforms of the resource, its parents and the stack."""
        callbacks, owner = [*self._transforms[urn]], self._parents[urn]
        while owner:
            callbacks += self._transforms.get(owner, ())
            owner = self._parents[owner]
        properties, dependencies = request.object, list(request.dependencies)
        for callback in [*callbacks, *self._transforms[""]]:
            options = resource_pb2.TransformResourceOptions(depends_on=dependencies)
            asked = resource_pb2.TransformRequest(
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                properties=properties,
                options=options,
            )
            answer = resource_pb2.TransformResponse.FromString(_call_back(callback, asked.SerializeToString()))
            properties = answer.properties
            dependencies = [*dict.fromkeys([*dependencies, *answer.options.depends_on])]
        return properties, dependencies

    def _registration(
        self,
        urn: str,
        request: resource_pb2.RegisterResourceRequest,
        properties: struct_pb2.Struct,
        dependencies: list[str],
    ) -> Registration:
        inputs = _plain(rpc.deserialize_properties(properties, keep_unknowns=True))
        position = self._position(request)
        try:
            name = physical_name(request.type, request.name, urn, inputs)
        except LocalError as error:
            raise LocalError(f"{request.type} {request.name!r} ({position}): {error}") from error
        return Registration(
            type=request.type,
            name=request.name,
            urn=urn,
            custom=request.custom,
            parent=request.parent,
            inputs=inputs,
            dependencies=tuple(sorted(set(dependencies))),
            position=position,
            physical_name=name,
            tags={**self._tags_by_default(request.provider), **(inputs.get("tags") or {})},
            ignored_changes=tuple(request.ignoreChanges),
            retained=request.retainOnDelete,
        )

    def _tags_by_default(self, provider: str) -> Mapping[str, str]:
        urn = provider.rpartition("::")[0]
        return self._default_tags[urn] if urn else _default_tags(self._project.config.get("aws:defaultTags"))

    def _position(self, request: resource_pb2.RegisterResourceRequest) -> str:
        path = Path(unquote(urlsplit(request.sourcePosition.uri).path))
        root = self._project.directory.resolve()
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        return f"{shown}:{request.sourcePosition.line}"

    def _refuse_unknown(self, registration: Registration, request: resource_pb2.RegisterResourceRequest) -> None:
        for key, value in registration.inputs.items():
            path = _unknown_path(value)
            if path is None:
                continue
            sources = [urn for urn in request.propertyDependencies[key].urns if urn in self._outputs]
            known = "; ".join(
                f"{self._types[urn]} {urn.rpartition('::')[2]!r} provides {', '.join(sorted(self._outputs[urn]))}"
                for urn in sources
            )
            raise LocalError(
                f"{registration}: its input {key}{path} is unknown: no resource provides the output it needs ({known})",
            )

    def _invoked(self, token: str) -> dict[str, Any]:
        if token in ("pulumi:pulumi:readStackOutputs", "pulumi:pulumi:readStackResourceOutputs"):
            return {"outputs": self._backend.deployed}
        return answer(token, self._backend.account, self._project.region)


def _call_back(callback: callback_pb2.Callback, request: bytes) -> bytes:
    with grpc.insecure_channel(callback.target) as channel:
        try:
            answer = callback_pb2_grpc.CallbacksStub(channel).Invoke(
                callback_pb2.CallbackInvokeRequest(token=callback.token, request=request),
            )
        except grpc.RpcError as error:
            raise LocalError(f"a transform failed: {' '.join(str(error.details()).split())}") from error
    response: bytes = answer.response
    return response


def _default_tags(value: object) -> Mapping[str, str]:
    # In config and in a provider's inputs it is JSON text.
    declared = json.loads(value) if isinstance(value, str) else value or {}
    return dict(declared.get("tags") or {}) if isinstance(declared, dict) else {}


def _plain(value: Any) -> Any:
    """Return a value without the wrapping of secrets, and whole numbers as int: the wire has floats only."""
    value = rpc.unwrap_rpc_secret(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _unknown_path(value: object) -> str | None:
    """Return the path of an unknown part of a value (`.variables.QUEUE_URL`), or None."""
    if isinstance(value, Unknown) or value == rpc.UNKNOWN:
        return ""
    if isinstance(value, dict):
        items = ((f".{key}", item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    return next((key + path for key, item in items if (path := _unknown_path(item)) is not None), None)
