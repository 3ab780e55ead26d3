"""The one component that a program needs."""

from collections.abc import Mapping
from typing import Any, assert_never

import pulumi
from pulumi import ResourceOptions, ResourceTransformationArgs, ResourceTransformationResult

from components.config import PipelineConfig
from components.data_loss import DataLossGuard
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.options.iot import IotPipelineConfig
from components.variants import api, csv, iot


class DataPipeline(pulumi.ComponentResource):
    """A whole event-driven data pipeline, built from its config.

    `outputs` are the stack's outputs, the same names whatever runs the program: see the variant's module. Everything
    that can be tagged is tagged with project, stack and environment, and with the config's own `tags`.
    """

    def __init__(self, name: str, config: PipelineConfig, *, opts: ResourceOptions | None = None) -> None:
        tags = {
            "project": pulumi.get_project(),
            "stack": pulumi.get_stack(),
            "environment": config.environment,
            **config.tags,
        }
        # A provider of the program's own has a region of its own.
        region = None if opts and (opts.provider or opts.providers) else pulumi.Config("aws").get("region")
        guard = DataLossGuard(name, config.allow_data_loss, region)
        tagging = ResourceOptions(transformations=[_tagging(tags), guard.check])
        super().__init__("datapipeline:index:DataPipeline", name, None, ResourceOptions.merge(tagging, opts))
        self.outputs: dict[str, pulumi.Output[Any]] = _build(name, config, self)
        guard.finish()
        self.register_outputs(self.outputs)


def _build(name: str, config: PipelineConfig, parent: pulumi.Resource) -> dict[str, pulumi.Output[Any]]:
    match config:
        case ApiPipelineConfig():
            return api.build(name, config, parent=parent)
        case CsvPipelineConfig():
            return csv.build(name, config, parent=parent)
        case IotPipelineConfig():
            return iot.build(name, config, parent=parent)
        case _:
            assert_never(config)


def _tagging(tags: Mapping[str, str]) -> pulumi.ResourceTransformation:
    def tag(args: ResourceTransformationArgs) -> ResourceTransformationResult | None:
        # The resource classes that take tags have them as a property, too.
        if not hasattr(type(args.resource), "tags"):
            return None
        props: dict[str, Any] = dict(args.props)
        return ResourceTransformationResult({**props, "tags": {**tags, **(props.get("tags") or {})}}, args.opts)

    return tag
