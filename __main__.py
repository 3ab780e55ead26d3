"""The Pulumi program: the config of the stack, one DataPipeline, its outputs."""

import pulumi

from components.config import load_stack
from components.pipeline import DataPipeline

pipeline = DataPipeline("pipeline", load_stack())
for key, value in pipeline.outputs.items():
    pulumi.export(key, value)
