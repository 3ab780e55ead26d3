"""What the commands of the `iot` variant have in common: the stack's thresholds."""

from pathlib import Path

from components.config import load
from components.options.iot import IotPipelineConfig
from handlers.iot.thresholds import Thresholds
from local.errors import LocalError
from local.project import find_project, load_project


def thresholds_of(stack: str) -> Thresholds:
    """The thresholds in a stack's file. Raises LocalError when the stack is of another variant."""
    project = load_project(find_project(Path.cwd()), stack)
    config = load(project.config, file=f"Pulumi.{stack}.yaml")
    if not isinstance(config, IotPipelineConfig):
        raise LocalError(f"stack {stack!r} is of the variant {config.variant!r}; this command needs one of 'iot'")
    return Thresholds.from_json(config.thresholds_json())
