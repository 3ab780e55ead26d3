"""Parameters."""

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs


@creates("aws:ssm/parameter:Parameter")
def parameter(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    aws("ssm").put_parameter(
        Name=name,
        Tags=pairs(inputs.tags),
        **inputs.renamed(
            AllowedPattern="allowedPattern",
            DataType="dataType",
            Description="description",
            KeyId="keyId",
            Tier="tier",
            Type="type",
            Value="value",
        ),
    )
    return Created(name, {"name": name, "arn": aws.arn("ssm", f"parameter/{name.removeprefix('/')}")})
