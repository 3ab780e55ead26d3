"""Everything the functions of a pipeline share: code, packages, logs, key and network."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components import bytecode
from components.encryption import Key, customer_key, encrypted
from components.layers import code_of, layer_archive
from components.names import layer_name, service_name
from components.network import Network, network_of
from components.options.common import CommonOptions, LogOptions
from components.package import ARCHITECTURE, LOCAL_VARIABLE, RUNTIME
from components.sources import Sources


@dataclass(frozen=True)
class Runtime:
    """Settings shared by all functions of a pipeline."""

    service: str
    """The name under which the functions report metrics."""
    sources: Sources
    layers: Sequence[Input[str]]
    """ARNs of the layers, the dependencies first."""
    logs: LogOptions
    tracing: bool
    key: Key | None = None
    """The customer key: a role that uses encrypted resources also needs rights on their key."""
    network: Network | None = None
    opts: ResourceOptions | None = None
    """Options of the pipeline's resources: their parent, and the encryption with the customer key."""


def shared_runtime(name: str, config: CommonOptions, *, files: Mapping[str, str], parent: pulumi.Resource) -> Runtime:
    """Create the key, the network and the layer of a pipeline. `files` (name: text) go to modules that name them."""
    say_if_not_compiled()
    key = customer_key(f"{name}-key", config, parent=parent)
    opts = encrypted(parent, key)
    service = service_name()
    dependencies = aws.lambda_.LayerVersion(
        f"{name}-dependencies",
        # Layers are not auto-named.
        layer_name=layer_name(f"{service}-{name}-dependencies"),
        code=code_of(layer_archive()),
        compatible_runtimes=[RUNTIME],
        compatible_architectures=[ARCHITECTURE],
        opts=opts,
    )
    network = network_of(f"{name}-network", config.network, opts=opts)
    return Runtime(service, Sources(files), [dependencies.arn], config.logs, config.tracing, key, network, opts)


def say_if_not_compiled() -> None:
    """Tell the deployer that cold starts will be slow, and why. Functions on this machine are never compiled."""
    reason = bytecode.why_not()
    if reason is not None and LOCAL_VARIABLE not in os.environ:
        pulumi.log.info(reason)
