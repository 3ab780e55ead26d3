"""`make engine`: every stack, and a prod variant of each, through Pulumi's real engine with a recorded provider.

Preview, up, a second up without a difference, a config change, a change that would lose data, refresh, destroy. It
fails at the first step that does anything else than expected. It needs the Pulumi CLI (`pulumi`, and
`pulumi-language-python` beside it or on the PATH), no AWS and no network.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.recorded_provider import Provider, served
from components.data_loss import HOLDS_DATA
from components.package import LOCAL_VARIABLE
from local.errors import LocalError

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests/samples"
STACKS = sorted(path.name.split(".")[1] for path in SAMPLES.glob("Pulumi.*.yaml"))
STEP_SECONDS = 300
SHOWN_LINES = 40
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"


def main() -> int:
    """Run all variants. Return the exit code."""
    if shutil.which("pulumi") is None:
        sys.stdout.write("make engine: NOT RUN, there is no Pulumi CLI on the PATH (pulumi.com/docs/install)\n")
        return int("CI" in os.environ)
    for stack in sys.argv[1:] or STACKS:
        for name, more in variants(stack).items():
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="pipeline-engine-") as folder:
                resources = Engine(Path(folder), stack, more).run()
            seconds = time.monotonic() - begun
            sys.stdout.write(f"{stack}, {name}: {resources} resources, all steps as expected ({seconds:.0f} s)\n")
            sys.stdout.flush()
    return 0


def variants(stack: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the options of the variants that a stack is tried with."""
    auth = {} if stack in ("csv", "iot") else {"datapipeline:api": {**_given(stack, "api"), "auth": "iam"}}
    return {"as it is": {}, "prod": {"datapipeline:environment": "prod", **auth}}


def _given(stack: str, key: str) -> dict[str, Any]:
    config = yaml.safe_load((SAMPLES / f"Pulumi.{stack}.yaml").read_text())["config"]
    return dict(config.get(f"datapipeline:{key}", {}))


@dataclass
class Step:
    """The result of a command of the CLI."""

    printed: str
    done: Counter[str]
    """Operations of the provider: `create aws:sqs/queue:Queue`."""


class Engine:
    """A project with one stack in a folder of its own, and the provider of its resources."""

    def __init__(self, folder: Path, stack: str, more: Mapping[str, Any]) -> None:
        self._folder, self._stack = folder, stack
        self._provider = Provider()
        for name in ("components", "handlers"):
            (folder / name).symlink_to(ROOT / name)
        for name in ("processors", "schemas"):
            (folder / name).symlink_to(SAMPLES / name)
        (folder / "__main__.py").symlink_to(ROOT / "__main__.py")
        project = yaml.safe_load((SAMPLES / "Pulumi.yaml").read_text())
        project["runtime"] = {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}}
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        self._file = folder / f"Pulumi.{stack}.yaml"
        self._file.write_text((SAMPLES / self._file.name).read_text())
        self._configure(more)

    def run(self) -> int:
        """Take the stack through all steps. Return its number of resources. Raises LocalError for a surprise."""
        with served(self._provider) as port:
            self._port = port
            self._pulumi("stack", "init", self._stack)
            self._first_deployment()
            resources = len(self._provider.there)
            self._a_change_in_place()
            self._a_change_that_loses_data()
            self._expect(self._pulumi("refresh", "--yes", "--expect-no-changes"), {})
            self._destroy()
        return resources

    def _first_deployment(self) -> None:
        self._expect(self._pulumi("preview"), {})
        made = self._pulumi("up", "--yes", "--skip-preview")
        self._require(set(kinds(made)) == {"create"}, "a first deployment only creates", made)
        self._expect(self._pulumi("preview", "--expect-no-changes"), {})
        self._expect(self._pulumi("up", "--yes", "--skip-preview", "--expect-no-changes"), {})

    def _a_change_in_place(self) -> None:
        groups = sum(f"${LOG_GROUP}::" in urn for urn in self._provider.there)
        self._configure({"datapipeline:logs": {"retention_days": 90}})
        self._expect(self._pulumi("up", "--yes", "--skip-preview"), {f"update {LOG_GROUP}": groups})

    def _a_change_that_loses_data(self) -> None:
        """The guard stops a preview, and an update without one before it loses anything; then it is taken back."""
        before, there = self._file.read_text(), dict(self._provider.there)
        self._configure(self._losing())
        for command in (("preview",), ("up", "--yes", "--skip-preview")):
            stopped = self._pulumi(*command, fails=True)
            self._require("the pipeline would lose " in stopped.printed, "a change that loses data is refused", stopped)
            # Resources that are new may be made before the one that is refused: the engine works in parallel.
            lost = [urn for urn, made in there.items() if self._provider.there.get(urn) != made]
            self._require(not lost and "delete" not in kinds(stopped), "nothing is replaced or deleted", stopped)
        self._file.write_text(before)
        self._configure({"aws:region": "eu-west-1"})
        elsewhere = self._pulumi("preview", fails=True)
        self._require("its region would change" in elsewhere.printed, "another region is refused", elsewhere)
        self._file.write_text(before)
        self._configure(self._losing())
        names = sorted({urn.rpartition("::")[2] for urn in self._provider.there if self._holds_data(urn)})
        self._configure({"datapipeline:allow_data_loss": names})
        self._expect(self._pulumi("preview"), {})
        self._file.write_text(before)
        # What the refused update made may be of a kind that holds data: then its removal must be allowed, too.
        self._configure({"datapipeline:allow_data_loss": names})
        back = self._pulumi("up", "--yes", "--skip-preview")
        self._file.write_text(before)
        self._require(self._provider.there == there, "a change that is taken back leaves what was there", back)

    def _losing(self) -> Mapping[str, Any]:
        """A config whose deployment would delete what holds data."""
        match self._stack:
            case "csv":
                return {"datapipeline:variant": "iot", "datapipeline:input": None}
            case "iot":
                empty = dict.fromkeys(("datapipeline:readings", "datapipeline:thresholds", "datapipeline:silence"))
                columns = {"columns": [{"name": "a"}]}
                return {**empty, "datapipeline:variant": "csv", "datapipeline:input": columns}
            case _:
                worker = {**_given(self._stack, "worker"), "batch_size": 10, "batching_window_seconds": 0}
                queue = {**_given(self._stack, "queue"), "fifo": {"group_field": "customer_id"}}
                return {"datapipeline:queue": queue, "datapipeline:worker": worker}

    def _holds_data(self, urn: str) -> bool:
        return urn.split("::", 3)[2].rpartition("$")[2] in HOLDS_DATA

    def _destroy(self) -> None:
        self._pulumi("destroy", "--yes", "--skip-preview")
        config = yaml.safe_load(self._file.read_text())["config"]
        left = Counter(urn.split("::", 3)[2].rpartition("$")[2] for urn in self._provider.there)
        kept = config.get("datapipeline:environment") == "prod"
        if kept != bool(left) or (kept and not left.keys() & {"aws:s3/bucket:Bucket", "aws:dynamodb/table:Table"}):
            raise LocalError(f"{self._stack}: after destroy there are {dict(left)}, in {'prod' if kept else 'dev'}")

    def _configure(self, more: Mapping[str, Any]) -> None:
        """Write options into the stack file, as somebody edits it. None takes a key away."""
        settings = yaml.safe_load(self._file.read_text())
        merged = {**settings["config"], **more}
        settings["config"] = {key: value for key, value in merged.items() if value is not None}
        self._file.write_text(yaml.safe_dump(settings))

    def _pulumi(self, *arguments: str, fails: bool = False) -> Step:
        before = len(self._provider.done)
        home = self._folder / ".pulumi"
        done = subprocess.run(  # noqa: S603  the user's own Pulumi
            ["pulumi", *arguments, "--non-interactive"],  # noqa: S607  on the PATH, as main has looked
            cwd=self._folder,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PULUMI_"))},
                "PULUMI_HOME": str(home),
                "PULUMI_BACKEND_URL": f"file://{self._folder}",
                "PULUMI_CONFIG_PASSPHRASE": "",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DEBUG_PROVIDERS": f"aws:{self._port}",
                # Layers of this machine: nothing is downloaded for them.
                LOCAL_VARIABLE: "1",
            },
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        counts = Counter(
            f"{what} {urn.split('::', 3)[2].rpartition('$')[2]}" for what, urn in self._provider.done[before:]
        )
        step = Step(f"$ pulumi {' '.join(arguments)}\n{done.stdout}{done.stderr}", counts)
        self._require(fails == bool(done.returncode), f"it {'fails' if fails else 'succeeds'}", step)
        return step

    def _expect(self, step: Step, done: Mapping[str, int]) -> None:
        self._require(step.done == Counter(done), f"the provider does {json.dumps(done)}", step)

    def _require(self, holds: bool, what: str, step: Step) -> None:  # noqa: FBT001  it is the assertion itself
        if not holds:
            shown = "\n".join(step.printed.splitlines()[-SHOWN_LINES:])
            raise LocalError(f"{shown}\n{self._stack}: expected that {what}; it did {dict(step.done)}")


def kinds(step: Step) -> Sequence[str]:
    """Return the kinds of operations of a step."""
    return sorted({each.partition(" ")[0] for each in step.done})


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalError as error:
        sys.exit(f"error: {error}")
