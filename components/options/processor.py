"""Options of the user's function: where it is, and what it needs."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from components.options.common import Options

# Names that Lambda keeps for itself, or that configure what the function runs on.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
_RESERVED_PREFIXES = ("AWS_", "LAMBDA_", "POWERTOOLS_", "PIPELINE_")
# What the pipeline itself says to the functions that run a processor (tests/test_contract.py).
RESERVED_VARIABLES = frozenset(
    {
        "ALERTS_RUNBOOK",
        "ALERTS_TOPIC_ARN",
        "ARCHIVE",
        "BACKOFF_BASE_SECONDS",
        "BACKOFF_MAXIMUM_SECONDS",
        "BUCKET_NAME",
        "CIRCUIT_FAILURE_THRESHOLD",
        "CIRCUIT_KEY_FAILURE_THRESHOLD",
        "CIRCUIT_KEY_FIELD",
        "CIRCUIT_RECOVERY_SECONDS",
        "DEAD_LETTER_QUEUE_URL",
        "EVENT_BUS_NAME",
        "EVENT_TIMEOUT_SECONDS",
        "FAULT_PARAMETER_NAME",
        "ITEMS_EXPIRE_AFTER_DAYS",
        "MAPPING_PARAMETER",
        "MAXIMUM_CONCURRENCY",
        "MAX_ATTEMPTS",
        "PROCESSOR",
        "QUEUE_URL",
        "RESULTS",
        "SECRETS",
        "TABLE_NAME",
        "TIME_INDEX_SHARDS",
    }
)
# Together with the longest secrets, environments stay below 4 KB and policies below 10,240 characters
# (tests/components/test_processor.py):
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
ENVIRONMENT_CHARACTERS = 1_000
POLICY_CHARACTERS = 2_500


def _existing_processor(value: str, info: ValidationInfo) -> str:
    match = re.fullmatch(r"(processors(?:\.[a-z_][a-z0-9_]*)+):([A-Za-z_]\w*)", value)
    if match is None:
        raise ValueError("must name a function below processors/, like processors.orders:process")
    if info.context and not info.context.get("check_processor", True):
        return value
    module = Path(match[1].replace(".", "/"))
    path = next((file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file()), None)
    if path is None:
        raise ValueError(f"there is no file {module}.py")
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError) as error:
        where, why = (f":{error.lineno}", error.msg) if isinstance(error, SyntaxError) else ("", error)
        raise ValueError(f"{path}{where} is not Python: {why}") from error
    defined, imported = list(_defined(body)), set(_imported(body))
    if match[2] not in defined and not imported & {match[2], "*"}:
        raise ValueError(f"{path} has no function {match[2]}; it has {', '.join(dict.fromkeys(defined)) or 'none'}")
    return value


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield a module's statements, also those that depend on a condition."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _statements([*node.body, *getattr(node, "orelse", [])])
        else:
            yield node


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that a module gives to what may be callable: definitions, and values that are no constants."""
    for node in _statements(body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign(value=ast.Call() | ast.Name() | ast.Attribute() | ast.Lambda()):
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _imported(body: list[ast.stmt]) -> Iterator[str]:
    for node in _statements(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def _existing_file(value: str) -> str:
    path = Path(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a file of the project, like requirements-orders.txt")
    if not path.is_file():
        raise ValueError(f"there is no file {value}: `uv pip compile --universal --generate-hashes` writes one")
    return value


def _free_name(name: str) -> str:
    if name in RESERVED_VARIABLES or name.startswith(_RESERVED_PREFIXES):
        raise ValueError("is used by the pipeline or by Lambda itself: choose another name")
    return name


def _fits_into_an_environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    taken = sum(len(name.encode() + value.encode()) for name, value in variables.items())
    if taken > ENVIRONMENT_CHARACTERS:
        raise ValueError(
            f"names and values have {taken} bytes together, and {ENVIRONMENT_CHARACTERS} fit into a function's "
            "environment: put large values into a file beside the processor, which is packaged with it"
        )
    return variables


# https://docs.aws.amazon.com/lambda/latest/api/API_Environment.html
VariableName = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]+$", max_length=64), AfterValidator(_free_name)]
Variables = Annotated[Mapping[VariableName, str], AfterValidator(_fits_into_an_environment)]

# Without wildcards, which would grant actions that AWS adds later.
ActionName = Annotated[str, Field(pattern=r"^[a-z0-9-]+:[A-Za-z0-9]+$")]
ResourceArn = Annotated[str, Field(pattern=r"^(\*|arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12}|aws)?:[!-~]+)$")]


class RightsOptions(Options):
    """Rights of the processor's own, for one purpose."""

    actions: Annotated[tuple[ActionName, ...], Field(min_length=1, max_length=20)]
    """IAM actions, each by its whole name, such as `ses:SendEmail`."""
    resources: Annotated[tuple[ResourceArn, ...], Field(min_length=1, max_length=20)]
    """ARNs of the resources. A `*` in one, or `*` alone where AWS knows no smaller one, is a finding of
    `pipeline check` that `accepted_findings` has to explain."""


def _fit_into_a_policy(policy: Mapping[str, RightsOptions]) -> Mapping[str, RightsOptions]:
    taken = sum(
        len(name) + sum(map(len, (*rights.actions, *rights.resources))) + 120 for name, rights in policy.items()
    )
    if taken > POLICY_CHARACTERS:
        raise ValueError(
            f"the rights take {taken} characters, and {POLICY_CHARACTERS} fit into the role's policy: "
            "merge rights to the same resources, or use fewer"
        )
    return policy


# Every word starts with a letter, so two names never become the same statement id in a policy.
Purpose = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$", max_length=64)]
Policy = Annotated[Mapping[Purpose, RightsOptions], AfterValidator(_fit_into_a_policy)]
ProcessorName = Annotated[str, AfterValidator(_existing_processor)]
RequirementsFile = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]+\.txt$"), AfterValidator(_existing_file)]
