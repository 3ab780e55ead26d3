"""The reference of options and commands in docs/reference/, from their definitions: python -m cli.reference."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from cli.main import app
from components.config import ENVIRONMENT_DEFAULTS, NAMESPACE, stack_file_schema

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

Schema = Mapping[str, Any]

# Bounds of a value by their keywords in a JSON Schema.
_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "minItems": "from {}",
    "maxItems": "to {}",
    "maxLength": "at most {} characters",
}


def config_reference() -> str:
    """Return the page of all options, as Markdown."""
    schema = stack_file_schema()
    groups: Mapping[str, Schema] = schema["$defs"]
    lines = [
        "# Options of a stack file",
        "",
        "Generated from `components/options/` by `make generate`. A stack file says only what differs from the",
        f"defaults. Its keys stand below `config:` and begin with `{NAMESPACE}:`. `schemas/stack.schema.json` gives",
        "editors completion and validation.",
    ]
    for variant in schema["properties"]["config"]["allOf"]:
        name = variant["if"]["properties"][f"{NAMESPACE}:variant"]["const"]
        lines += ["", f"## Variant {name}", "", *_table(variant["then"], groups)]
    lines += ["", "## Defaults of an environment", "", *_environments()]
    for name, group in sorted(groups.items()):
        if group.get("properties"):
            lines += ["", f"## {name}", "", _one_line(group.get("description", "")), "", *_table(group, groups)]
    return "\n".join(lines) + "\n"


def command_reference() -> str:
    """Return the page of all commands, as Markdown."""
    root = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Generated from `cli/main.py` by `make generate`. The command is `.venv/bin/pipeline`.",
        "`pipeline COMMAND --help` prints the same. `pipeline --install-completion` sets up completion in your shell.",
    ]
    for path, command in _commands(root, "pipeline"):
        lines += ["", f"## {path}", "", _one_line(command.help or ""), "", "```", _usage(path, command), "```"]
        if rows := [
            _parameter(each) for each in command.params if each.name != "help" and not getattr(each, "hidden", False)
        ]:
            lines += ["", "| argument or option | default | what it is |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Return each page by its file."""
    return {FOLDER / "config.md": config_reference(), FOLDER / "commands.md": command_reference()}


def _table(group: Schema, groups: Mapping[str, Schema]) -> Iterator[str]:
    yield from ("| key | type | default | description |", "|---|---|---|---|")
    required = group.get("required", [])
    for key, option in group["properties"].items():
        name = key.removeprefix(f"{NAMESPACE}:")
        default = "required" if key in required else _default(option)
        described = option.get("description") or groups[option["$ref"].rpartition("/")[2]]["description"]
        yield f"| `{name}` | {_type(option, groups)} | {default} | {_cell(described)} |"


def _default(option: Schema) -> str:
    """Return the default of a value. Groups and empty lists have none to show: their own tables or descriptions do."""
    value = option.get("default")
    if value in (None, []) or isinstance(value, dict):
        return ""
    return f"`{_cell(value if isinstance(value, str) and value else json.dumps(value))}`"


def _type(option: Schema, groups: Mapping[str, Schema]) -> str:  # noqa: PLR0911  one case a form of schema
    match option:
        case {"$ref": str(ref)}:
            name = ref.rpartition("/")[2]
            return f"[{name}](#{name.lower()})" if groups[name].get("properties") else "`{}`"
        case {"anyOf": list(forms)} | {"oneOf": list(forms)}:
            return " or ".join(dict.fromkeys(_type(form, groups) for form in forms if form.get("type") != "null"))
        case {"const": value}:
            return f"`{value}`"
        case {"enum": list(values)}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_type(items, groups)}{_bounds(option)}"
        case {"type": "object"}:
            by_pattern: Mapping[str, Any] = option.get("patternProperties", {})
            inner: Any = option.get("additionalProperties") or next(iter(by_pattern.values()), None)
            return f"map of {_type(inner, groups)}" if isinstance(inner, dict) else "map"
        case {"type": kind}:
            return f"{'text' if kind == 'string' else kind}{_bounds(option)}"
    return "any"


def _bounds(option: Schema) -> str:
    said = [text.format(option[key]) for key, text in _BOUNDS.items() if key in option]
    return f" ({' '.join(said)})" if said else ""


def _environments() -> Iterator[str]:
    keys = [f"{group}.{key}" for group, options in ENVIRONMENT_DEFAULTS["dev"].items() for key in options]
    yield f"| key | {' | '.join(f'`{name}`' for name in ENVIRONMENT_DEFAULTS)} |"
    yield "|---|" + "---|" * len(ENVIRONMENT_DEFAULTS)
    for key in keys:
        group, _, option = key.partition(".")
        values = [json.dumps(defaults[group][option]) for defaults in ENVIRONMENT_DEFAULTS.values()]
        yield f"| `{key}` | {' | '.join(f'`{value}`' for value in values)} |"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in sorted(children.items()):
        yield from _commands(child, f"{path} {name}")


def _usage(path: str, command: Any) -> str:
    return " ".join([path, *(_argument(each) for each in command.params if _is_argument(each)), "[OPTIONS]"])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name).upper()


def _parameter(parameter: Any) -> str:
    name = _argument(parameter) if _is_argument(parameter) else ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = getattr(parameter, "show_default", None)
    value = default if isinstance(default, str) else parameter.default
    shown = "required" if parameter.required else "" if value in (None, False) or callable(value) else f"`{value}`"
    environment = f" Environment variable: `{parameter.envvar}`." if parameter.envvar else ""
    return f"| `{name}` | {shown} | {_cell(parameter.help or '')}{environment} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, page in pages().items():
        file.write_text(page, encoding="utf-8")
