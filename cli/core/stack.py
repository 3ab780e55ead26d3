"""A stack as commands see it, whether it runs on this machine or on AWS.

stack = Stack("dev")
config = stack.config_as(ApiPipelineConfig)
stack.aim_aws_clients()
queue_url = stack.output("queue_url")
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cli.core.json_text import parse_object
from cli.core.state import kept_state, read_state, running_stacks, state_path
from cli.core.suggestions import suggest
from local.errors import LocalError
from local.project import Project, find_project, load_project, stack_file

if TYPE_CHECKING:
    from components.config import PipelineConfig
    from components.options.api import ApiPipelineConfig
    from components.options.csv import CsvPipelineConfig
    from components.options.iot import IotPipelineConfig
    from local.engine import Running
    from local.recording import Graph

    Config = TypeVar("Config", ApiPipelineConfig, CsvPipelineConfig, IotPipelineConfig)

# `pipeline local --exec` hands the outputs to its command in this variable.
OUTPUTS = "PIPELINE_OUTPUTS"
PULUMI_SECONDS = 60


class Stack:
    """A stack by its name. Everything is loaded when first used and raises LocalError or ConfigError then."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def directory(self) -> Path:
        """The folder of the project: the nearest one above the working directory that has a Pulumi.yaml."""
        return find_project(Path.cwd())

    @cached_property
    def project(self) -> Project:
        """The project, with the stack file's values."""
        return load_project(self.directory, self.name)

    @cached_property
    def config(self) -> "PipelineConfig":
        """The validated config, of whichever variant. The user's function may be broken: it is not read."""
        from components.config import load  # noqa: PLC0415  Pulumi's import takes longer than most commands

        return load(self.project.config, file=f"Pulumi.{self.name}.yaml", check_processor=False)

    def config_as(self, kind: "type[Config]") -> "Config":
        """Return the config of a variant. Raises LocalError when the stack has another variant."""
        from components.config import VARIANTS  # noqa: PLC0415  as above

        if not isinstance(self.config, kind):
            wanted = next(name for name, model in VARIANTS.items() if model is kind)
            raise LocalError(
                f"stack {self.name!r} is of the variant {self.config.variant!r}; this command needs one of {wanted!r}"
            )
        return self.config

    def graph(self, *, for_aws: bool = False) -> "Graph":
        """Return the resources that the program would create. The program runs, nothing is created.

        Functions have the code and layers for this machine, or `for_aws` those that are deployed.
        """
        from local.recording import synthesise  # noqa: PLC0415  as above

        return synthesise(self.directory, self.name, for_aws=for_aws)

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs: of the variable PIPELINE_OUTPUTS, else of the local pipeline, else of `pulumi stack output`."""
        if given := os.environ.get(OUTPUTS):
            return parse_object(given, OUTPUTS)
        outputs: Mapping[str, Any] = self._running["outputs"] if self._running else self._deployed()
        return outputs

    def output(self, name: str) -> str:
        """Return one output. Raises LocalError when the stack does not have it."""
        if name not in self.outputs:
            names = ", ".join(sorted(self.outputs)) or "none"
            raise LocalError(f"stack {self.name!r} has no output {name!r}; it has {names}")
        return str(self.outputs[name])

    def aim_aws_clients(self) -> None:
        """Aim the AWS clients of this process at the local pipeline, or at the stack's region on AWS."""
        if OUTPUTS in os.environ:
            return
        if self._running:
            os.environ.update(self._running["environment"])
        else:
            os.environ.setdefault("AWS_DEFAULT_REGION", self.project.region)

    def refuse_ended(self) -> None:
        """Raise LocalError when the local pipeline has ended since: its port may be another program's by now."""
        if OUTPUTS in os.environ or not self._running:
            return
        # The state has the keys of the run, and its file is locked for as long as the pipeline lives.
        if read_state(state_path(self.directory, self.name)) != self._running:
            raise LocalError(f"the pipeline of stack {self.name!r} has ended; start it and this command again")

    @property
    def is_local(self) -> bool:
        """Return True if it runs on this machine."""
        return OUTPUTS in os.environ or self._running is not None

    def refuse_second(self) -> None:
        """Raise LocalError when the stack already runs here: a second one would take over its state file."""
        if self._running:
            raise LocalError(
                f"stack {self.name!r} already runs here (process {self._running['pid']}); stop it with Ctrl-C, or give "
                f"the second one a name of its own: cp Pulumi.{self.name}.yaml Pulumi.{self.name}2.yaml; "
                + suggest("local", "--stack", f"{self.name}2")
            )

    @cached_property
    def _running(self) -> Mapping[str, Any] | None:
        """The state of the local pipeline; None when none is running."""
        return read_state(state_path(self.directory, self.name))

    @cached_property
    def deployed_ids(self) -> Mapping[tuple[str, str], str]:
        """The ids of the resources of a stack on AWS, by type and name in the program. Raises LocalError."""
        exported = parse_object(self._pulumi("stack", "export"), "pulumi stack export")
        return {
            (str(each["type"]), str(each["urn"]).rpartition("::")[2]): str(each["id"])
            for each in exported["deployment"].get("resources", [])
            if each.get("id")
        }

    def _deployed(self) -> Mapping[str, Any]:
        return parse_object(self._pulumi("stack", "output", "--json"), "pulumi stack output")

    def _pulumi(self, *arguments: str) -> str:
        """Return what the Pulumi CLI prints about the stack. Raises LocalError."""
        others = ", ".join(running_stacks(self.directory))
        absent = f"stack {self.name!r} does not run here (`{suggest('local', '--stack', self.name)}` starts it"
        absent += f"; these run: {others})" if others else ")"
        named = f"`pulumi {' '.join(each for each in arguments if not each.startswith('-'))}`"
        pulumi = shutil.which("pulumi")
        if pulumi is None:
            stack_file(self.directory, self.name)
            raise LocalError(f"{absent}, and there is no Pulumi CLI to ask for it on AWS")
        try:
            result = subprocess.run(  # noqa: S603  the user's own Pulumi
                [pulumi, *arguments, "--stack", self.name],
                cwd=self.directory,
                capture_output=True,
                text=True,
                timeout=PULUMI_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LocalError(f"{named} took more than {PULUMI_SECONDS} seconds") from None
        if result.returncode != 0:
            printed = result.stderr.strip().splitlines() or ["it printed nothing"]
            raise LocalError(f"{absent}, and {named} failed: {printed[-1]}")
        return result.stdout


def state_file(pipeline: "Running") -> AbstractContextManager[None]:
    """Keep a state file as long as a local pipeline runs, so that other commands find it."""
    state = {"pid": os.getpid(), "environment": pipeline.environment(), "outputs": pipeline.outputs}
    return kept_state(state_path(pipeline.project.directory, pipeline.project.stack), state)
