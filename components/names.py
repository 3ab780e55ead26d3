"""The name of a stack, for what is not auto-named."""

import hashlib
import re

import pulumi

# https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html
LONGEST_LAYER_NAME = 140


def layer_name(name: str) -> str:
    """Return the name of a layer. Raises RunError for one that Lambda refuses."""
    if len(name) > LONGEST_LAYER_NAME:
        raise pulumi.RunError(
            f"the layer's name {name!r} has {len(name)} characters, and Lambda takes {LONGEST_LAYER_NAME}: "
            "give the project or the stack a shorter name"
        )
    return name


def service_name() -> str:
    """The stack as metrics, alerts, layer, dashboard and queries name it: project and stack, in letters that AWS takes.

    Stack `dev` of `shop-api` and stack `api-dev` of `shop` are two: where the plain name could be another stack's, it
    ends with a digest.
    """
    project, stack = pulumi.get_project(), pulumi.get_stack()
    name = re.sub(r"[^A-Za-z0-9_-]", "-", f"{project}-{stack}")
    if "-" not in stack and name == f"{project}-{stack}":
        return name
    return f"{name}-{hashlib.sha256(f'{project}/{stack}'.encode()).hexdigest()[:6]}"
