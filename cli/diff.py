"""`pipeline diff`: what a change of the program or of a stack file would do, without AWS and without credentials."""

from dataclasses import asdict
from pathlib import Path

from cli.check import accepted_findings
from cli.core.comment import comment
from cli.core.json_text import write_json
from cli.core.terminal import inert, write_lines
from cli.diff_text import text
from cli.revisions import Revision, both
from cli.stack_diff import Side, StackDiff, compare
from components.config import ConfigError, PipelineConfig, load
from components.options.api import ApiPipelineConfig
from local.errors import LocalError
from local.project import Project, find_project, load_project
from local.recording import Graph


def run_diff(stack: str | None, base: str, *, as_markdown: bool, as_json: bool) -> int:
    """Print what would change since a revision. Return 1 if a stack cannot be compared."""
    project = find_project(Path.cwd())
    with both(project, base, stack) as (before, after):
        names = sorted(before.graphs.keys() | after.graphs.keys())
        found = [_compared(name, before, after) for name in names]
    if as_json:
        write_json([asdict(each) for each in found])
    else:
        lines = map(inert, text(found, base))
        write_lines(comment(lines) if as_markdown else lines)
    return int(any(each.status == "failed" for each in found))


def _compared(stack: str, before: Revision, after: Revision) -> StackDiff:
    sides: list[Side | None] = []
    for when, revision in (("before the change", before), ("after the change", after)):
        try:
            sides.append(_side(stack, revision))
        except (LocalError, ConfigError) as error:
            return StackDiff(stack, "failed", error=f"{when}: {error}")
    return compare(stack, *sides)


def _side(stack: str, revision: Revision) -> Side | None:
    """Return a stack at a revision; None where it has none. Raises LocalError and ConfigError."""
    graph = revision.graphs.get(stack)
    if graph is None:
        return None
    if not isinstance(graph, Graph):
        raise LocalError(graph)
    project = load_project(revision.directory, stack)
    config = _config(project)
    losses = () if config is None else config.allow_data_loss
    costed = config if isinstance(config, ApiPipelineConfig) else None
    return Side(graph, accepted_findings(project), costed, losses)


def _config(project: Project) -> PipelineConfig | None:
    """Return the config; None if its options are those of another version, or the program has a config of its own."""
    try:
        return load(project.config, file=f"Pulumi.{project.stack}.yaml", check_processor=False)
    except ConfigError:
        return None
