"""`pulumi new` from the repository: https://www.pulumi.com/docs/iac/guides/building-extending/creating-templates/."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import NAMESPACE, VARIANTS, load
from local.project import load_project
from local.recording import synthesise
from tests.graphs import ROOT, SAMPLES

PROJECT = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
TEMPLATE = PROJECT["template"]


def made(folder: Path, **answers: str) -> Path:
    """The result of `pulumi new`: the project with another name and no template, and a stack file with the answers."""
    for name in ("__main__.py", "components", "handlers", "local"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("processors", "schemas"):
        (folder / name).symlink_to(SAMPLES / name)
    project = {key: value for key, value in PROJECT.items() if key != "template"}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({**project, "name": "shop"}))
    values = {key: answers.get(key, asked["default"]) for key, asked in TEMPLATE["config"].items()}
    (folder / "Pulumi.mine.yaml").write_text(yaml.safe_dump({"config": values}))
    return folder


def test_the_template_has_only_keys_that_pulumi_documents() -> None:
    # sdk/go/common/workspace/project.json of pulumi/pulumi.
    assert TEMPLATE.keys() <= {"description", "quickstart", "important", "config"}
    for asked in TEMPLATE["config"].values():
        assert asked.keys() <= {"description", "default", "secret"}
        assert all(isinstance(value, str) and value for value in asked.values())


def test_the_default_answers_make_a_stack_under_another_project_name(tmp_path: Path) -> None:
    graph = synthesise(made(tmp_path), "mine")
    assert graph.outputs["api_url"]
    (table,) = graph.of_type("aws:dynamodb/table:Table")
    assert table.inputs["tags"]["project"] == "shop"


# csv needs the columns of its files, which a prompt cannot ask for.
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "csv"])
def test_every_variant_without_required_groups_is_an_answer(variant: str, tmp_path: Path) -> None:
    project = load_project(made(tmp_path, **{"datapipeline:variant": variant}), "mine")
    assert load(project.config, file="Pulumi.mine.yaml", check_processor=False).variant == variant
    assert variant in TEMPLATE["config"]["datapipeline:variant"]["description"]


def test_no_default_is_lost_when_the_project_gets_another_name() -> None:
    """Pulumi takes a key without a namespace for one of the project, whose name changes."""
    keys: dict[str, Any] = {**PROJECT["config"], **TEMPLATE["config"]}
    assert {key.partition(":")[0] for key in keys if ":" in key} == {NAMESPACE, "aws"}
    assert [key for key in keys if ":" not in key] == []
    # A declaration with a type or a default is refused for keys of other namespaces.
    assert all(isinstance(value, str) for value in PROJECT["config"].values())


def test_no_file_holds_a_placeholder_that_pulumi_new_would_replace() -> None:
    found = subprocess.run(
        ["git", "grep", "-lE", r"\$\{(PROJEC[T]|DESCRIPTIO[N])\}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "")
