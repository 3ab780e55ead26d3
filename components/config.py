"""Load and validate a stack's config.

A stack file contains only what differs from the defaults. `environment` selects a set of them (ENVIRONMENT_DEFAULTS),
and a stack file can override each one. `load` raises ConfigError before any resource is registered. Its message has one
line per problem, with the file, the key, what is allowed, and the value unless that may be a misplaced secret.
"""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard, get_args, get_origin

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from components.options.api import ApiPipelineConfig
from components.options.common import Options
from components.options.csv import CsvPipelineConfig
from components.options.iot import IotPipelineConfig

NAMESPACE = "datapipeline"

ENVIRONMENT_DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "dev": {
        "storage": {
            "deletion_protection": False,
            "point_in_time_recovery": False,
            "bucket_versioning": False,
            "retain_data": False,
        },
        "logs": {"retention_days": 14},
    },
    "staging": {
        "storage": {
            "deletion_protection": False,
            "point_in_time_recovery": True,
            "bucket_versioning": True,
            "retain_data": False,
        },
        "logs": {"retention_days": 30},
    },
    "prod": {
        "storage": {
            "deletion_protection": True,
            "point_in_time_recovery": True,
            "bucket_versioning": True,
            "retain_data": True,
        },
        "logs": {"retention_days": 365},
    },
}


# Keys with such a name, and URLs with credentials: their values may be secrets, so messages do not repeat them.
_maybe_secret = re.compile(
    r"""(secret|passw|token|credential|endpoint)[\w.\[\]-]*["']?\s*:|://[^/?#]*@""", re.IGNORECASE
).search
_dictionary = re.compile(r"Input should be a valid dictionary( or instance of \w+)?")
# Nor do messages repeat values of unknown keys, or values in place of a group or a list: they may be anything.
_NOT_SHOWN = ("extra_forbidden", "model_type", "dict_type", "tuple_type")


class ConfigError(pulumi.RunError):
    """Invalid config of a stack. The message has one line per problem, as described above."""


PipelineConfig = ApiPipelineConfig | CsvPipelineConfig | IotPipelineConfig

VARIANTS: Mapping[str, type[PipelineConfig]] = {
    "api": ApiPipelineConfig,
    "csv": CsvPipelineConfig,
    "iot": IotPipelineConfig,
}


def load(raw: Mapping[str, Any], *, file: str, check_processor: bool = True) -> PipelineConfig:
    """Return the validated config of a stack. Raises ConfigError.

    `check_processor` is False for commands that look at a running stack: they work while its function is being edited.

    `raw` maps `datapipeline:<key>` to a value as Pulumi provides it: a string, which is JSON for lists and maps.
    Keys of other namespaces are ignored. `file` is the name of the stack file in messages.
    """
    prefix = f"{NAMESPACE}:"
    if str(raw.get("aws:region", "")).startswith("cn-"):
        raise ConfigError(
            f"{file}: aws:region = {raw['aws:region']!r}: regions of China are not supported: names of services in the "
            "key's policy and of VPC endpoints differ there; choose a region outside of aws-cn"
        )
    values = {key.removeprefix(prefix): _decoded(value) for key, value in raw.items() if key.startswith(prefix)}
    # Not a discriminated union of pydantic, whose errors contain the variant in every key.
    variant = values.get("variant")
    if variant is None:
        known = {key for model in VARIANTS.values() for key in model.model_fields}
        unknown = [f"{file}: {prefix}{key}: unknown key" for key in sorted(values.keys() - known)]
        raise ConfigError("\n".join([*unknown, f"{file}: {prefix}variant is missing; it is api, csv or iot"]))
    model = VARIANTS.get(str(variant))
    if model is None:
        allowed = " or ".join(map(repr, VARIANTS))
        shown = f" = {variant!r}" if isinstance(variant, str) and not _begins_like_json(variant) else ""
        raise ConfigError(f"{file}: {prefix}variant{shown}: Input should be {allowed}")
    try:
        context = {"region": raw.get("aws:region"), "check_processor": check_processor}
        return model.model_validate(with_environment_defaults(values), context=context)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, file, model))) from error


def load_stack() -> PipelineConfig:
    """Return the config of the stack that Pulumi is running. Raises ConfigError."""
    return load({**get_config_env(), **CONFIG.get()}, file=f"Pulumi.{pulumi.get_stack()}.yaml")


def with_environment_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, completed with the defaults of their environment."""
    merged = dict(values)
    environment = values.get("environment", "dev")
    # Validation reports an unknown environment; the defaults of dev let it check the groups, too.
    for group, defaults in ENVIRONMENT_DEFAULTS.get(str(environment), ENVIRONMENT_DEFAULTS["dev"]).items():
        given = merged.get(group, {})
        if isinstance(given, Mapping):
            merged[group] = {**defaults, **given}
    return merged


def _begins_like_json(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value[:1] in ("{", "[")


def _decoded(value: object) -> object:
    if _begins_like_json(value):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _lines(error: ValidationError, file: str, model: type[BaseModel]) -> list[str]:
    lines = []
    problems = error.errors()
    # Where a name is invalid, name and value may have been swapped.
    no_names = {problem["loc"][:-1] for problem in problems if problem["loc"][-1:] == ("[key]",)}
    for problem in problems:
        location = problem["loc"]
        if location[:2] == ("worker", "secrets") and location[:3] in no_names:
            if location[-1] != "[key]":
                continue
            location = (*location[:2], "[key]")
        path = [str(part) for part in location if not str(part).startswith("kind:")]
        key = f"{NAMESPACE}:{'.'.join(path)}" if path else NAMESPACE
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be a valid tuple", "must be a list")
        message = _dictionary.sub("must hold keys and values, indented below it", message)
        given = problem["input"]
        # A value of the processor's environment, or of a webhook, may be a secret in the wrong place.
        near_secrets = location[:2] == ("worker", "environment") or location[:1] == ("webhooks",)
        may_be_secret = near_secrets or _maybe_secret(f"{key}: {given}")
        hidden = isinstance(given, Mapping) or problem["type"] in _NOT_SHOWN or may_be_secret
        shown = "" if hidden else f" = {given!r}"
        if problem["type"] == "too_short" and given:
            # Caused by an invalid item, which has a line of its own.
            continue
        if problem["type"] == "missing":
            lines.append(f"{file}: {key} is missing")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{file}: {key}: unknown key; allowed here: {', '.join(_allowed_keys(model, path[:-1]))}")
        elif len(path) == 1 and _begins_like_json(given):
            lines.append(f"{file}: {key}: begins like JSON but is not valid; correct its syntax")
        else:
            lines.append(f"{file}: {key}{shown}: {message}")
    return lines


def _allowed_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Return the keys of the group of options at a path."""
    annotation: Any = model
    for part in path:
        if get_origin(annotation) is Mapping:
            annotation = get_args(annotation)[1]
        elif not part.isdigit():
            annotation = _group(annotation).model_fields[part].annotation
    return sorted(_group(annotation).model_fields)


def _group(annotation: Any) -> type[Options]:
    """Return the options model `X` in an annotation: `X`, `X | None`, `tuple[X, ...]`."""
    return next(model for model in _models(annotation) if issubclass(model, Options))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def stack_file_schema() -> dict[str, Any]:
    """Return the JSON Schema of stack files, which `schemas/stack.schema.json` holds for editors."""
    _, schema = models_json_schema([(model, "validation") for model in VARIANTS.values()])
    definitions = schema["$defs"]
    for definition in definitions.values():
        # A stack file need not contain what the environment sets.
        for optional in ENVIRONMENT_DEFAULTS["dev"].values():
            if optional.keys() <= definition["properties"].keys():
                definition["required"] = [key for key in definition.get("required", []) if key not in optional]
    variants = {name: definitions.pop(model.__name__) for name, model in VARIANTS.items()}
    # Groups whose required options are all set by the environment are optional.
    optional_groups = ENVIRONMENT_DEFAULTS["dev"].keys()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A stack file of DataPipeline",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{NAMESPACE}:variant": {"enum": list(VARIANTS)}},
                "required": [f"{NAMESPACE}:variant"],
                "allOf": [
                    {
                        "if": {"properties": {f"{NAMESPACE}:variant": {"const": name}}},
                        "then": {
                            "properties": {f"{NAMESPACE}:{key}": value for key, value in variant["properties"].items()},
                            "required": [
                                f"{NAMESPACE}:{key}" for key in variant["required"] if key not in optional_groups
                            ],
                            "patternProperties": {f"^(?!{NAMESPACE}:)": True},
                            "additionalProperties": False,
                        },
                    }
                    for name, variant in variants.items()
                ],
            },
        },
        "required": ["config"],
        "$defs": definitions,
    }


if __name__ == "__main__":
    # python -m components.config > schemas/stack.schema.json
    sys.stdout.write(json.dumps(stack_file_schema(), indent=2, sort_keys=True) + "\n")
