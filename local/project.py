"""A Pulumi project in a folder: its name, its stacks, and the config of one stack."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from local.errors import LocalError

DEFAULT_REGION = "us-east-1"

# The keys of a stack file: https://www.pulumi.com/docs/iac/concepts/projects/stack-settings-file/
_STACK_KEYS = ("config", "environment", "encryptedkey", "encryptionsalt", "secretsprovider")


@dataclass(frozen=True)
class Project:
    """A project and one of its stacks. `config` maps `namespace:key` to a string, as Pulumi passes it to a program."""

    name: str
    stack: str
    directory: Path
    config: Mapping[str, str]

    @property
    def region(self) -> str:
        """The value of `aws:region`."""
        return self.config.get("aws:region", DEFAULT_REGION)

    def with_config(self, config: Mapping[str, Any]) -> "Project":
        """Return the stack with other plain values. A key without namespace is the project's; None removes a key."""
        merged: dict[str, str] = dict(self.config)
        for key, value in config.items():
            full = _full_key(self.name, key)
            if value is None:
                merged.pop(full, None)
            else:
                merged[full] = _as_text(value)
        return replace(self, config=merged)


def load_project(directory: Path, stack: str) -> Project:
    """Return the project in `directory` with the config of `stack`. Raises LocalError when one is missing."""
    settings = _read(directory / "Pulumi.yaml")
    name = str(settings["name"]) if settings.get("name") else directory.name
    file = stack_file(directory, stack)
    defaults = {
        _full_key(name, key): value
        for key, declared in _config(settings, "Pulumi.yaml").items()
        if (value := _default(declared)) is not None
    }
    given = _read(file)
    if unknown := next((key for key in given if key not in _STACK_KEYS), None):
        raise LocalError(f"{file.name}: {unknown}: unknown key; a stack's values go under config:")
    own = {_full_key(name, key): value for key, value in _config(given, file.name).items()}
    if secret := next((found for key, value in own.items() if (found := _encrypted(key, value))), None):
        raise LocalError(f"{file.name}: {secret} is encrypted; only the Pulumi CLI can read it")
    config = {key: _as_text(value) for key, value in {**defaults, **own}.items()}
    return Project(name, stack, directory, config)


def stack_file(directory: Path, stack: str) -> Path:
    """Return the path of a stack's file. Raises LocalError that lists the stacks when there is none."""
    file = directory / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        stacks = sorted(path.name.split(".")[1] for path in directory.glob("Pulumi.*.yaml"))
        raise LocalError(
            f"there is no stack {stack!r} (no file Pulumi.{stack}.yaml); there are: {', '.join(stacks) or 'none'}"
        )
    return file


def region_of(directory: Path) -> str:
    """Return the region of a project's stacks, unless a stack file says another one."""
    declared = _config(_read(directory / "Pulumi.yaml"), "Pulumi.yaml").get("aws:region")
    return str(_default(declared) or DEFAULT_REGION)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  it is a SafeLoader
    except FileNotFoundError:
        raise LocalError(
            f"there is no {path.name} in {path.parent}: this is not the folder of a Pulumi project"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {path.name}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise LocalError(f"{path.name}:{line} is not YAML: {error.problem}") from error
    if not isinstance(content, dict):
        raise LocalError(f"{path.name} must hold keys and values")
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key, as Pulumi does: the last one would replace the others without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  as in yaml
        """Return the mapping of a node."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is a duplicate key", node.start_mark)
        return super().construct_mapping(node, deep)


def _config(content: Mapping[str, Any], file: str) -> Mapping[str, Any]:
    config = content.get("config") or {}
    if not isinstance(config, dict):
        raise LocalError(f"{file}: config must hold keys and values, indented below it")
    return config


def _encrypted(key: str, value: object) -> str | None:
    """Return the key of the first encrypted value at or below a key, such as `shop:worker.tokens[0]`."""
    if isinstance(value, dict):
        if value.keys() == {"secure"}:
            return key
        below = [(f"{key}.{name}", each) for name, each in value.items()]
    else:
        below = [(f"{key}[{number}]", each) for number, each in enumerate(value)] if isinstance(value, list) else []
    return next((found for name, each in below if (found := _encrypted(name, each))), None)


def _full_key(project: str, key: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _default(declared: object) -> object:
    """Return the value of an entry of `config` in Pulumi.yaml: a schema's `default`, a `value`, or the entry."""
    if not isinstance(declared, dict):
        return declared
    return declared.get("value", declared.get("default"))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | bool | dict | list):
        return json.dumps(value)
    return str(value)


def find_project(directory: Path) -> Path:
    """Return the nearest folder with a Pulumi.yaml, at or above a folder, as the Pulumi CLI does."""
    for folder in (directory.resolve(), *directory.resolve().parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    raise LocalError(f"there is no Pulumi.yaml in {directory} or above it: run this in the project's folder")
