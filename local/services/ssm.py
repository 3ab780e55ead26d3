"""Parameters."""

from local.arns import ARNS
from local.monitor import Created
from local.services import Clients, Inputs, creates

KIND = "aws:ssm/parameter:Parameter"


@creates(KIND)
def parameter(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    tags = [{"Key": key, "Value": value} for key, value in inputs.tags.items()]
    aws("ssm").put_parameter(
        Name=name,
        Tags=tags,
        **inputs.renamed(Description="description", Type="type", Value="value"),
    )
    return Created(name, {"name": name, "arn": ARNS[KIND](aws, name)})
