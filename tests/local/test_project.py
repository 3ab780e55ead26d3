"""Reading a project: names, defaults, values of stacks, and errors for missing files."""

from pathlib import Path

import pytest

from local.errors import LocalError
from local.project import find_project, load_project


def _project(folder: Path, project: str = "name: shop\n", stack: str = "config: {}\n") -> Path:
    (folder / "Pulumi.yaml").write_text(project)
    (folder / "Pulumi.dev.yaml").write_text(stack)
    return folder


def test_values_reach_the_program_as_strings_and_lists_and_maps_as_json(tmp_path: Path) -> None:
    stack = "config:\n  shop:on: true\n  shop:size: 3\n  shop:rate: 0.5\n  shop:api: {kind: http, paths: [a, b]}\n"
    config = load_project(_project(tmp_path, stack=stack), "dev").config
    assert config == {
        "shop:on": "true",
        "shop:size": "3",
        "shop:rate": "0.5",
        "shop:api": '{"kind": "http", "paths": ["a", "b"]}',
    }


def test_values_of_the_stack_override_defaults_of_the_project(tmp_path: Path) -> None:
    project = "name: shop\nconfig:\n  colour: {type: string, default: red}\n  size: {type: integer, default: 1}\n"
    project += "  needed: {type: string}\n  aws:region: {value: eu-west-1}\n"
    loaded = load_project(_project(tmp_path, project, "config:\n  colour: blue\n"), "dev")
    assert loaded.config == {"shop:colour": "blue", "shop:size": "1", "aws:region": "eu-west-1"}
    assert loaded.region == "eu-west-1"


def test_a_missing_stack_is_an_error_that_names_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"no stack 'prod' \(no file Pulumi.prod.yaml\); there are: dev$"):
        load_project(_project(tmp_path), "prod")


def test_a_folder_without_a_project_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"there is no Pulumi.yaml in"):
        load_project(tmp_path, "dev")


def test_a_broken_stack_file_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"^Pulumi.dev.yaml:2 is not YAML: [^\n]+$"):
        load_project(_project(tmp_path, stack="config:\n  a: b: c\n"), "dev")


def test_an_encrypted_value_is_an_error_that_names_its_key(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"shop:token is encrypted"):
        load_project(_project(tmp_path, stack="config:\n  shop:token: {secure: AAAB}\n"), "dev")


@pytest.mark.parametrize(
    ("group", "key"),
    [
        ("{token: {secure: AAAB}}", "shop:worker.token"),
        ("{tokens: [plain, {secure: AAAB}]}", r"shop:worker.tokens\[1\]"),
    ],
)
def test_an_encrypted_value_inside_a_group_is_an_error_that_names_its_key(tmp_path: Path, group: str, key: str) -> None:
    with pytest.raises(LocalError, match=f"{key} is encrypted"):
        load_project(_project(tmp_path, stack=f"config:\n  shop:worker: {group}\n"), "dev")


def test_an_unknown_top_level_key_of_a_stack_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"^Pulumi.dev.yaml: confg: unknown key; a stack's values go under config:$"):
        load_project(_project(tmp_path, stack="confg:\n  shop:a: 1\n"), "dev")


def test_values_of_a_stack_can_be_overridden(tmp_path: Path) -> None:
    project = load_project(_project(tmp_path, stack="config:\n  shop:a: x\n  shop:b: y\n"), "dev")
    assert project.with_config({"a": {"c": 1}, "b": None, "aws:region": "eu-west-1"}).config == {
        "shop:a": '{"c": 1}',
        "aws:region": "eu-west-1",
    }


def test_the_project_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    below = _project(tmp_path) / "a" / "b"
    below.mkdir(parents=True)
    assert find_project(below) == tmp_path.resolve()
    with pytest.raises(LocalError, match="in the project's folder"):
        find_project(Path("/"))


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("config: text\n", r"^Pulumi.dev.yaml: config must hold keys and values, indented below it$"),
        ("config:\n- a\n", r"^Pulumi.dev.yaml: config must hold keys and values, indented below it$"),
        ("config:\n  a: 1\n  b: 1\n  a: 2\n", r"^Pulumi.dev.yaml:2 is not YAML: a is a duplicate key$"),
        ("config:\n  a: {b: 1, b: 2}\n", r"^Pulumi.dev.yaml:2 is not YAML: b is a duplicate key$"),
    ],
)
def test_a_malformed_stack_file_is_an_error_that_says_where(stack: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=message):
        load_project(_project(tmp_path, stack=stack), "dev")


def test_keys_can_be_merged_from_an_anchor(tmp_path: Path) -> None:
    stack = "config:\n  a: &a {x: 1}\n  b: {<<: *a, y: 2}\n"
    assert load_project(_project(tmp_path, stack=stack), "dev").config["shop:b"] == '{"x": 1, "y": 2}'


def test_a_stack_file_that_is_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    (_project(tmp_path) / "Pulumi.dev.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError, match=r"^cannot read Pulumi.dev.yaml: "):
        load_project(tmp_path, "dev")
