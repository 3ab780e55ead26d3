"""`pipeline diff`: ten changes and exactly what they would do, the comment, and the revisions of a repository."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.core.comment import MARKER
from cli.diff_text import text
from cli.stack_diff import Side, compare
from components.config import load
from components.options.api import ApiPipelineConfig
from local.project import load_project
from local.snapshot import plain, restored
from tests.graph_changes import Change, added, allow, changed, given, policy, route
from tests.graphs import SAMPLES, graph_of

from .conftest import ROOT, Command

DIFFS = Path(__file__).parent / "diffs"
KEY: dict[str, Any] = {"encryption": {"customer_key": {}}}
ALARM = {
    "comparisonOperator": "GreaterThanThreshold",
    "evaluationPeriods": 1,
    "metricName": "Errors",
    "alarmActions": ["x"],
}


def side(config: Mapping[str, Any] | None = None, *changes: Change, stack: str = "dev") -> Side:
    """A stack with other options, and changes that no option makes."""
    options = dict(config or {})
    project = load_project(SAMPLES, stack).with_config(options)
    loaded = load(project.config, file="Pulumi.dev.yaml", check_processor=False)
    api = loaded if isinstance(loaded, ApiPipelineConfig) else None
    # Where the program ran: its code is there.
    with contextlib.chdir(SAMPLES):
        graph = restored(plain(changed(graph_of(stack, options), *changes)), project.region)
    return Side(graph, (), api, loaded.allow_data_loss)


EXTRA_ALARM = added("aws:cloudwatch/metricAlarm:MetricAlarm", "extra", ALARM)
WIDER = policy("RolePolicy worker", allow(["s3:GetObject"], ["arn:aws:s3:::other/*"]))
SHORTER = {"queue": {"retention_days": 2}, "logs": {"retention_days": 7}}
CHANGES: Mapping[str, tuple[Callable[[], Side], Callable[[], Side | None]]] = {
    "new-alarm": (side, lambda: side({}, EXTRA_ALARM)),
    "memory-size": (side, lambda: side({"worker": {"memory_mb": 1_024}})),
    "fifo": (side, lambda: side({"queue": {"fifo": {"group_field": "customer_id"}}})),
    "key-off": (lambda: side(KEY), lambda: side({"allow_data_loss": ["pipeline-key"]})),
    "table-key": (lambda: side(stack="iot"), lambda: side({}, given("Table table", hashKey="device"), stack="iot")),
    "new-route": (side, lambda: side({}, route("GET /extra", "AWS_IAM"))),
    "rights-wider": (side, lambda: side({}, WIDER)),
    "retention-shorter": (side, lambda: side(SHORTER)),
    "dev-to-prod": (lambda: side(stack="csv"), lambda: side({"environment": "prod"}, stack="csv")),
    "stack-removed": (lambda: side(stack="iot"), lambda: None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_says_exactly_what_a_deployment_would_do(name: str) -> None:
    before, after = CHANGES[name]
    found = list(text([compare("dev", before(), after())], "main"))
    assert found == (DIFFS / f"{name}.txt").read_text().splitlines()


def test_a_stack_that_is_the_same_says_so_in_one_line() -> None:
    assert list(text([compare("dev", side(), side())], "main")) == ["stack dev: nothing changes (60 resources)"]


def test_a_function_that_is_kept_ready_gets_a_new_version_and_its_alias_points_to_it() -> None:
    ready = {"worker": {"provisioned_concurrency": 1}}
    bigger = {"worker": {"provisioned_concurrency": 1, "memory_mb": 1_024}}
    lines = list(text([compare("dev", side(ready), side(bigger))], "main"))
    at = lines.index("~ change Alias pipeline-worker")
    assert lines[at + 1] == "    functionVersion: (known after the deployment)"
    assert "~ change Alias pipeline-worker" not in list(text([compare("dev", side(ready), side(ready))], "main"))


def test_another_region_replaces_everything_and_loses_all_data() -> None:
    diff = compare("iot", side(stack="iot"), side({"aws:region": "eu-west-1"}, stack="iot"))
    assert {change.action for change in diff.changes} == {"replace"}
    assert diff.unchanged == 0
    lines = list(text([diff], "main"))
    at = lines.index("! replace Table pipeline-table")
    assert lines[at + 1] == "    region: us-east-1 -> eu-west-1"
    assert "!   LOSES its items (pulumi preview refuses it)" in lines[at:]


def test_a_kept_bucket_is_forgotten_and_a_replaced_one_leaves_its_objects_behind() -> None:
    kept = side({"environment": "prod"}, stack="csv")
    lines = list(text([compare("csv", kept, None)], "main"))
    at = lines.index("- delete Bucket pipeline-input")
    assert lines[at + 1] == "    it stays on AWS, and Pulumi forgets it"
    named = side({"environment": "prod"}, given("Bucket input", bucket="mine"), stack="csv")
    lines = list(text([compare("csv", kept, named)], "main"))
    at = lines.index("! replace Bucket pipeline-input")
    assert lines[at + 2] == "    the old one stays on AWS with its data, and the new one is empty"


# The comment


def body_of(printed: bytes) -> str:
    """Return the comment that the workflow writes, run as the workflow runs it: without the project's packages."""
    script = [sys.executable, "-I", str(ROOT / "cli/core/comment.py")]
    done = subprocess.run(script, input=printed, capture_output=True, check=True)
    body: str = json.loads(done.stdout)["body"]
    return body


@pytest.mark.parametrize(
    "hostile",
    [
        b"```\n@everyone <img src=x>\n```",
        b"~~~~\n</details><script>x</script>",
        b"`````````` [link](javascript:x)",
        b"<!-- \x1b]0;title\x07 \xff\xfe \xe2\x80\xa8@team",
        b"",
    ],
)
def test_nothing_that_a_pull_request_prints_becomes_markup(hostile: bytes) -> None:
    lines = body_of(b"stack dev: nothing changes\n" + hostile).split("\n")
    fence = lines[5].removesuffix("diff")
    assert lines[0] == MARKER
    assert re.fullmatch("`{3,}", fence)
    assert lines[-1] == fence
    inside = "\n".join(lines[6:-1])
    # A block of code ends only at a line of at least as many backticks.
    assert fence not in inside
    assert all(character.isprintable() or character == "\n" for character in inside)
    assert not re.search("[@<]", "\n".join(lines[1:6]))


def test_a_long_diff_is_cut_to_what_github_takes() -> None:
    body = body_of(b"x" * 100 + b"\n" + (b"y" * 199 + b"\n") * 10_000)
    assert len(body) < 65_536
    assert body.split("\n")[-2] == "... cut off; `pipeline diff` shows the rest"


WORKFLOWS = {
    name: yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text()) for name in ("diff", "diff-comment")
}


def test_the_workflow_that_runs_the_code_of_a_request_may_only_read_and_has_no_secret() -> None:
    workflow = WORKFLOWS["diff"]
    assert workflow[True] == {"pull_request": None}  # YAML reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    text = (ROOT / ".github/workflows/diff.yml").read_text()
    assert "secrets" not in text
    assert "token" not in text
    assert "persist-credentials: false" in text


def test_the_workflow_that_comments_runs_nothing_of_a_request() -> None:
    workflow = WORKFLOWS["diff-comment"]
    assert workflow[True] == {"workflow_run": {"workflows": ["diff"], "types": ["completed"]}}
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "actions": "read", "pull-requests": "write"}
    checkout, *scripts = job["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    for step in scripts:
        assert "${{" not in step["run"]
        # Valid for the shell that runs it.
        subprocess.run(["bash", "-n"], input=step["run"].encode(), check=True)


# The revisions of a repository


@pytest.fixture
def repository(small_project: Path) -> Path:
    """The small project as a repository with one commit, and a second stack."""
    (small_project / "Pulumi.other.yaml").write_text("config: {}\n")
    git(small_project, "init", "--quiet")
    commit(small_project)
    return small_project


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change")


DESTROY = "`pulumi destroy --stack other`"
PROGRAM = "import pulumi, pulumi_aws as aws\npulumi.export('queue_url', aws.sqs.Queue('main'{}).url)\n"


def test_all_stacks_are_compared_with_the_last_commit_and_one_with_any_revision(
    repository: Path, pipeline: Command
) -> None:
    done = pipeline("diff", cwd=repository)
    assert (done.exit_code, done.stderr) == (0, "")
    same = "stack dev: nothing changes (1 resources)\n\nstack other: nothing changes (1 resources)\n"
    assert done.stdout == same
    (repository / "__main__.py").write_text(PROGRAM.format(", delay_seconds=5"))
    (repository / "Pulumi.other.yaml").unlink()
    (repository / "Pulumi.third.yaml").write_text("config: {}\n")
    done = pipeline("diff", cwd=repository)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "stack dev: 1 changed, 0 unchanged",
        "~ change Queue main",
        "    delaySeconds: unset -> 5",
        "",
        f"stack other: its file is gone. What is deployed stays, and is billed, until {DESTROY}, which would do this:",
        "- delete Queue main",
        "!   LOSES the messages in it",
        "",
        "stack third: new, 1 resources",
        "+ finding: main: its messages are not encrypted (encrypted-at-rest)",
        "+ finding: main: it accepts plain HTTP (tls-only)",
    ]
    commit(repository)
    done = pipeline("diff", "--stack", "dev", "--base", "HEAD~1", "--json", cwd=repository)
    (found,) = json.loads(done.stdout)
    assert (found["stack"], found["status"], found["unchanged"]) == ("dev", "compared", 0)
    assert found["changes"][0]["differences"] == [{"path": "delaySeconds", "before": "unset", "after": "5"}]


def test_a_program_that_fails_is_said_and_the_other_stacks_are_compared(repository: Path, pipeline: Command) -> None:
    fails = "import pulumi\nif pulumi.get_stack() == 'dev':\n    raise ValueError('no such thing')\n"
    (repository / "__main__.py").write_text(fails + PROGRAM.format(""))
    done = pipeline("diff", "--markdown", cwd=repository)
    assert done.exit_code == 1
    assert "stack dev: cannot be compared\n  after the change: no such thing\n" in done.stdout
    assert "stack other: nothing changes (1 resources)\n" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--base", "nowhere"), "error: git knows no revision 'nowhere' here; name a commit, a branch or a tag"),
        (("--base", "--output=x"), "error: git knows no revision '--output=x' here"),
        (("--stack", "none"), "error: there is no stack 'none', neither here nor at HEAD"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    repository: Path, pipeline: Command, given: tuple[str, ...], said: str
) -> None:
    done = pipeline("diff", *given, cwd=repository)
    assert done.exit_code == 1
    assert done.stderr.startswith(said)
    assert not (repository / "x").exists()


def test_a_comparison_leaves_the_repository_as_it_was(repository: Path, pipeline: Command) -> None:
    (repository / ".gitattributes").write_text("Pulumi.yaml export-ignore\n")
    (repository / "outside").symlink_to("/etc")
    commit(repository)
    (repository / "new.txt").write_text("staged")
    git(repository, "add", "new.txt")
    before = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, check=True).stdout
    assert pipeline("diff", "--stack", "dev", cwd=repository).stdout == "stack dev: nothing changes (1 resources)\n"
    after = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, check=True).stdout
    assert before == after == b"A  new.txt\n"


def test_a_project_in_a_folder_of_a_repository_is_compared(repository: Path, pipeline: Command) -> None:
    inner = repository / "apps/shop"
    inner.mkdir(parents=True)
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
        (repository / name).rename(inner / name)
    commit(repository)
    (inner / "__main__.py").write_text(PROGRAM.format(", delay_seconds=5"))
    done = pipeline("diff", cwd=inner)
    assert done.stdout.splitlines()[:2] == ["stack dev: 1 changed, 0 unchanged", "~ change Queue main"]


def test_a_folder_without_git_is_an_error(small_project: Path, pipeline: Command) -> None:
    done = pipeline("diff", cwd=small_project)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: git rev-parse failed: ")
