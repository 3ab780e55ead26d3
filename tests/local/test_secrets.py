"""Values of secrets from the environment."""

from local.secrets import taken_from


def test_values_are_removed_from_the_environment() -> None:
    environment = {f"PIPELINE_SECRET_{name}": "a value" for name in ("TOKEN", "SIGNING_KEY")} | {"PIPELINE_STACK": "a"}
    assert taken_from(environment) == {"token": "a value", "signing_key": "a value"}
    assert environment == {"PIPELINE_STACK": "a"}
