"""Secrets of a stack, stored in the emulator with local values."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from local.emulator import Emulator
from local.errors import LocalError
from local.project import Project
from local.secrets import put_into
from local.services import Clients

ACCOUNT = "us-east-1:123456789012"
KEY = f"arn:aws:kms:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def project_with(project: Project) -> Callable[..., Project]:
    """`project_with(name=reference)`: a project whose processor has these secrets."""
    return lambda **secrets: project.with_config({"datapipeline:worker": {"batch_size": 1, "secrets": secrets}})


def references(project: Project) -> dict[str, Any]:
    options = json.loads(project.config["datapipeline:worker"])
    assert options["batch_size"] == 1
    found: dict[str, Any] = options["secrets"]
    return found


def test_secrets_are_stored_and_the_stack_gets_their_arns_in_the_emulator(
    emulator: Emulator, aws: Clients, project_with: Callable[..., Project]
) -> None:
    unique = uuid.uuid4().hex
    project = project_with(
        token=f"arn:aws:secretsmanager:{ACCOUNT}:secret:{unique}/token-AbC123",
        signing={"arn": f"arn:aws:ssm:{ACCOUNT}:parameter/{unique}/signing", "key_arn": KEY},
        plain=f"arn:aws:ssm:{ACCOUNT}:parameter/{unique}",
    )
    values = {"token": "one", "signing": "two", "plain": "three", "of_another_stack": "four"}
    own = references(put_into(emulator, project, values))
    assert aws("secretsmanager").get_secret_value(SecretId=own["token"]["arn"])["SecretString"] == "one"
    assert own["token"]["arn"].startswith(f"arn:aws:secretsmanager:us-east-1:000000000000:secret:{unique}/token-")
    assert own["signing"] == {"arn": f"arn:aws:ssm:us-east-1:000000000000:parameter/{unique}/signing", "key_arn": KEY}
    for name, called in (("signing", f"/{unique}/signing"), ("plain", unique)):
        for by in (own[name]["arn"], called):
            parameter = aws("ssm").get_parameter(Name=by, WithDecryption=True)["Parameter"]
            assert (parameter["Type"], parameter["Value"]) == ("SecureString", values[name])


def test_a_missing_value_is_an_error_that_names_the_variable(
    emulator: Emulator, project_with: Callable[..., Project]
) -> None:
    names = ("token", "signing_key", "empty")
    project = project_with(**{name: f"arn:aws:ssm:{ACCOUNT}:parameter/{name}" for name in names})
    with pytest.raises(LocalError, match="set PIPELINE_SECRET_SIGNING_KEY, PIPELINE_SECRET_EMPTY, to dummy"):
        put_into(emulator, project, {"token": "one", "empty": ""})


@pytest.mark.parametrize(
    "reference", ["hunter2", 7, None, {}, {"arn": 7}, "arn:aws:ssm:eu-west-1:123456789012:parameter/signing"]
)
def test_malformed_secrets_are_left_to_the_program(
    emulator: Emulator, project_with: Callable[..., Project], reference: object
) -> None:
    project = project_with(token=reference)
    assert put_into(emulator, project, {}) is project


@pytest.mark.parametrize("options", ["", "no JSON", "[]", "7", '{"secrets": 7}', "{}"])
def test_a_stack_without_secrets_needs_no_values(emulator: Emulator, project: Project, options: str) -> None:
    project = project.with_config({"datapipeline:worker": options})
    assert put_into(emulator, project, {"token": "one"}) is project


def test_a_refused_secret_is_an_error_with_its_name_and_without_its_value(
    emulator: Emulator, project_with: Callable[..., Project]
) -> None:
    project = project_with(token=f"arn:aws:ssm:{ACCOUNT}:parameter/aws/reserved")
    with pytest.raises(LocalError, match="the emulator did not store the secret 'token': ") as raised:
        put_into(emulator, project, {"token": "hunter2"})
    assert "hunter2" not in str(raised.value)
