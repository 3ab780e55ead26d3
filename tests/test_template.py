"""`pulumi new` from the repository: https://www.pulumi.com/docs/iac/guides/building-extending/creating-templates/."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.config import NAMESPACE, VARIANTS, ConfigError, load
from local.project import load_project
from local.recording import synthesise
from tests.graphs import ROOT, SAMPLES

PROJECT = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
if "template" not in PROJECT:
    pytest.skip("`pulumi new` made this project, and removed the template", allow_module_level=True)
TEMPLATE = PROJECT["template"]


def as_read(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The config of a project as Pulumi reads it: RewriteShorthandConfigValues, sdk/go/common/workspace/project.go."""
    own = f"{project['name']}:"
    return {
        key: value
        if isinstance(value, dict)
        else {"default" if ":" not in key or key.startswith(own) else "value": value}
        for key, value in project["config"].items()
    }


def made(folder: Path, stack: str = "mine", **answers: str) -> Path:
    """What `pulumi new` makes: all files, the project renamed and tagged, a stack file with the answers.

    The answers are added to a stack file that is there already.
    """
    for name in ("__main__.py", "components", "handlers", "local"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("processors", "schemas"):
        (folder / name).symlink_to(SAMPLES / name)
    project = {key: value for key, value in PROJECT.items() if key != "template"}
    tags = {"pulumi:tags": {"value": {"pulumi:template": "somewhere"}}}
    saved = {**project, "name": "shop", "description": "Orders", "config": {**as_read(project), **tags}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(saved))
    values = {key: answers.get(key, asked["default"]) for key, asked in TEMPLATE["config"].items()}
    sample = SAMPLES / f"Pulumi.{stack}.yaml"
    given = yaml.safe_load(sample.read_text())["config"] if sample.is_file() else {}
    (folder / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": {**given, **values}}))
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


# csv needs the columns of its files, which a prompt cannot ask for. `pulumi new` proposes dev as the stack's name.
@pytest.mark.parametrize("stack", ["mine", "dev"])
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "csv"])
def test_every_variant_without_required_groups_is_an_answer(variant: str, stack: str, tmp_path: Path) -> None:
    project = load_project(made(tmp_path, stack, **{"datapipeline:variant": variant}), stack)
    assert load(project.config, file=f"Pulumi.{stack}.yaml", check_processor=False).variant == variant
    assert variant in TEMPLATE["config"]["datapipeline:variant"]["description"]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_environment_is_an_answer_that_works_or_says_what_it_needs(environment: str, tmp_path: Path) -> None:
    project = load_project(made(tmp_path, **{"datapipeline:environment": environment}), "mine")
    described = TEMPLATE["config"]["datapipeline:environment"]["description"]
    assert environment in described
    if environment == "dev":
        assert load(project.config, file="Pulumi.mine.yaml").environment == "dev"
    else:
        with pytest.raises(ConfigError, match=r"api\.auth must be set in environment"):
            load(project.config, file="Pulumi.mine.yaml")
        assert "needs api.auth" in described


def test_pulumi_saves_the_project_under_another_name() -> None:
    """Validate, sdk/go/common/workspace/project.go: a key of another namespace has a value and nothing else."""
    assert {key: config for key, config in as_read(PROJECT).items() if config.keys() != {"value"}} == {}
    # A key without a namespace is one of the project, whose name changes.
    keys = [*PROJECT["config"], *TEMPLATE["config"]]
    assert {key.partition(":")[0] for key in keys if ":" in key} <= {NAMESPACE, "aws"}
    assert [key for key in keys if ":" not in key] == []


def git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_file_of_the_repository_can_be_copied() -> None:
    """Pulumi follows links, leaves .pulumi.template.yaml out, and replaces placeholders in names, too."""
    listed = git("ls-files", "--stage").stdout.splitlines()
    if not listed:
        pytest.skip("this copy is no clone of a repository")
    assert [line for line in listed if not line.startswith("100")] == []
    names = [line.partition("\t")[2] for line in listed]
    assert [name for name in names if "${" in name or name.endswith((".pulumi.template.yaml", ".append"))] == []


def test_no_file_holds_a_placeholder_that_pulumi_new_would_replace() -> None:
    found = git("grep", "-lE", r"\$\{(PROJEC[T]|DESCRIPTIO[N])\}")
    if found.returncode == 128:
        pytest.skip("this copy is no clone of a repository")
    assert (found.returncode, found.stdout) == (1, "")


def test_the_name_and_the_description_are_no_placeholders() -> None:
    """The repository is a project of its own, so the prompts propose what it is called."""
    assert (PROJECT["name"], bool(PROJECT["description"])) == (NAMESPACE, True)
    assert len(PROJECT["description"]) <= 256
