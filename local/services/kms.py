"""Keys. They can be used, but other services of the emulator do not encrypt with them."""

from local.monitor import Created
from local.services import Clients, Inputs, creates


@creates("aws:kms/key:Key", ignores={"deletionWindowInDays": "all keys go with the emulator"})
def key(aws: Clients, _name: str, inputs: Inputs) -> Created:
    tags = [{"TagKey": name, "TagValue": value} for name, value in inputs.tags.items()]
    request = inputs.renamed(Description="description", Policy="policy")
    made = aws("kms").create_key(Tags=tags, **request)["KeyMetadata"]
    if inputs.get("enableKeyRotation"):
        aws("kms").enable_key_rotation(KeyId=made["KeyId"])
    return Created(made["KeyId"], {"keyId": made["KeyId"], "arn": made["Arn"]})


@creates("aws:kms/alias:Alias")
def alias(aws: Clients, _name: str, inputs: Inputs) -> Created:
    name = inputs["name"]
    aws("kms").create_alias(AliasName=name, TargetKeyId=inputs["targetKeyId"])
    return Created(name, {"name": name, "arn": aws.arn("kms", name)})
