"""Packages, variables and rights of the user's function."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi_aws as aws

from components.bucket import Bucket
from components.grants import Grant
from components.imports import Missing, missing_imports
from components.layers import REQUIREMENTS, code_of, import_names, layer_archive
from components.names import layer_name
from components.options.api import WorkerOptions
from components.options.processor import RightsOptions
from components.package import ARCHITECTURE, ROOT, RUNTIME
from components.part import Part
from components.requirements import PackageError
from components.runtime import Runtime

if TYPE_CHECKING:
    from pulumi import Input

# Larger layers go through S3: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LARGEST_DIRECT_BYTES = 50 * 2**20
LAYERS = "layers/"


def processor_part(options: WorkerOptions) -> Part:
    """The processor's own variables and rights."""
    variables: Mapping[str, Input[str]] = dict(options.environment)
    return Part(worker_grants=[*_rights(options.policy), Grant((), (), variables)])


def _rights(policy: Mapping[str, RightsOptions]) -> Iterator[Grant]:
    for purpose, rights in policy.items():
        yield Grant(
            rights.actions, rights.resources, why=f"processor {purpose.replace('_', ' ')}", on_foreign_resources=True
        )


def runtime_with_packages(name: str, options: WorkerOptions, runtime: Runtime, bucket: Bucket) -> Runtime:
    """Return the runtime of the functions that run the processor: with its files, and a layer of its requirements.

    Raises PackageError for an import of the processor that nothing provides.
    """
    runtime = replace(runtime, sources=replace(runtime.sources, folders=("processors",)))
    base = layer_archive()
    names = import_names(base)
    if options.requirements is None:
        _check_imports(options, names)
        return runtime
    archive = layer_archive(Path(options.requirements).resolve(), base=REQUIREMENTS)
    own = import_names(archive)
    _check_imports(options, names | own)
    if not own:
        # All of it is in the pipeline's layer, or for other places; and Lambda refuses an empty layer.
        return runtime
    layer = _layer(name, archive, runtime, bucket)
    return replace(runtime, layers=[*runtime.layers, layer.arn])


def _layer(name: str, archive: Path, runtime: Runtime, bucket: Bucket) -> aws.lambda_.LayerVersion:
    code: dict[str, Any] = {"code": code_of(archive)}
    if archive.stat().st_size > LARGEST_DIRECT_BYTES:
        uploaded = aws.s3.BucketObjectv2(
            name, bucket=bucket.name, key=f"{LAYERS}{archive.name}", source=code["code"], opts=runtime.opts
        )
        code = {"s3_bucket": uploaded.bucket, "s3_key": uploaded.key}
    return aws.lambda_.LayerVersion(
        name,
        # Layers are not auto-named.
        layer_name=layer_name(f"{runtime.service}-{name}"),
        **code,
        compatible_runtimes=[RUNTIME],
        compatible_architectures=[ARCHITECTURE],
        opts=runtime.opts,
    )


def _check_imports(options: WorkerOptions, names: set[str]) -> None:
    missing = list(
        missing_imports(options.processor.partition(":")[0], {"processors": Path.cwd(), "handlers": ROOT}, names)
    )
    if missing:
        raise PackageError("\n".join(_explained(each, options.requirements) for each in missing))


def _explained(missing: Missing, requirements: str | None) -> str:
    if missing.is_own:
        return f"{missing.place}: there is no module {missing.module}"
    package = missing.module.partition(".")[0]
    where = (
        f"add its package to {requirements}"
        if requirements
        else "name a requirements file with its package in worker.requirements"
    )
    return f"{missing.place}: imports {package}, which the function does not have: {where}, with hashes"
