"""Creators of resources in the emulator: one file per AWS service, one short function per type.

    @creates("aws:sqs/queue:Queue")
    def queue(aws: Clients, name: str, inputs: Inputs) -> Created:
        ...

`name` is the physical name where the type has one, else the logical one. A creator must read every input or name it in
`ignores` with the reason. An input that was silently ignored would work locally and fail, or differ, on AWS.
"""

import importlib
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import botocore.session
from botocore.config import Config

from local.arns import Scope
from local.constraints import refuse_violations
from local.emulator import ACCOUNT, Emulator, Keys
from local.errors import LocalError
from local.monitor import Created, Registration


class Inputs(Mapping[str, Any]):
    """The inputs of a resource. It records which of them were read."""

    def __init__(self, inputs: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._inputs = inputs
        self.seen = {"tags", "tagsAll", "region"}
        self.tags = dict(tags)
        """The resource's tags, including default tags."""

    def __getitem__(self, key: str) -> Any:
        """Return an input and mark it as read."""
        self.seen.add(key)
        return self._inputs[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the inputs."""
        return iter(self._inputs)

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._inputs)

    @property
    def overlooked(self) -> list[str]:
        """The inputs that were not read."""
        return sorted(set(self._inputs) - self.seen)

    def renamed(self, **names: str) -> dict[str, Any]:
        """Return the given inputs by other names: `renamed(Timeout="timeout")`."""
        return {new: self[key] for new, key in names.items() if key in self}


class Clients(Scope):
    """boto3's low-level clients for an emulator, made when first used: `aws("sqs").create_queue(...)`.

    They act as the emulator's root, or with the `keys` of a user. `checked` refuses requests that AWS would refuse.
    """

    def __init__(self, emulator: Emulator, keys: Keys | None = None, *, checked: bool = False) -> None:
        super().__init__(ACCOUNT, emulator.region)
        self._endpoint = emulator.endpoint
        self._keys = keys or emulator.keys
        self._checked = checked
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        # Without the user's own AWS settings: an AWS_PROFILE that does not exist would be an error.
        self._session = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            },
        )

    def __call__(self, service: str) -> Any:
        """Return the client of a service, by boto3's name."""
        # Any: the inputs are dicts made at run time, which the stubs' TypedDicts could only be cast to. botocore checks
        # each parameter itself. The lock: a session makes one client at a time.
        with self._lock:
            if service not in self._clients:
                client = self._clients[service] = self._session.create_client(
                    service,
                    region_name=self.region,
                    endpoint_url=self._endpoint,
                    aws_access_key_id=self._keys.access_key,
                    aws_secret_access_key=self._keys.secret_key,
                    config=Config(
                        proxies={},
                        retries={"mode": "standard", "max_attempts": 2},
                        s3={"addressing_style": "path"},
                        max_pool_connections=16,
                    ),
                )
                if self._checked:
                    client.meta.events.register("provide-client-params", refuse_violations)
            return self._clients[service]

    @property
    def endpoint(self) -> str:
        """The address of the emulator."""
        return self._endpoint


Creator = Callable[[Clients, str, Inputs], Created]

CREATORS: dict[str, tuple[Creator, frozenset[str]]] = {}


def creates(kind: str, *, ignores: Mapping[str, str] | None = None) -> Callable[[Creator], Creator]:
    """Register the creator of a resource type. `ignores` maps inputs without effect here to the reason."""

    def register(creator: Creator) -> Creator:
        CREATORS[kind] = creator, frozenset(ignores or {})
        return creator

    return register


def create(aws: Clients, registration: Registration) -> Created:
    """Create a resource. Raises LocalError for a type without a creator and for an unknown input."""
    if registration.type not in CREATORS:
        raise LocalError("the local pipeline has no creator for this type; add one in local/services/")
    creator, ignored = CREATORS[registration.type]
    inputs = Inputs(registration.inputs, registration.tags)
    created = creator(aws, registration.physical_name, inputs)
    if overlooked := [key for key in inputs.overlooked if key not in ignored]:
        raise LocalError(f"the local pipeline does not know the input {overlooked[0]!r}; see {creator.__module__}")
    return created


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
