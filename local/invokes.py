"""Answers to the provider's functions that a program may call, such as `aws.get_region()`."""

from typing import Any

from local.errors import LocalError


def answer(token: str, account: str, region: str) -> dict[str, Any]:
    """Return what the provider would answer. Raises LocalError for a function that is not known here."""
    match token:
        case "aws:index/getCallerIdentity:getCallerIdentity":
            return {"id": account, "accountId": account, "arn": f"arn:aws:iam::{account}:root", "userId": account}
        case "aws:index/getRegion:getRegion":
            names = {"description": region, "endpoint": f"ec2.{region}.amazonaws.com"}
            return {"id": region, "name": region, "region": region, **names}
        case "aws:index/getAvailabilityZones:getAvailabilityZones":
            zones = _zones(region)
            return {"id": region, "names": zones, "zoneIds": zones, "groupNames": [region]}
        case "aws:ec2/getVpcEndpointService:getVpcEndpointService":
            return {"id": region, "availabilityZones": _zones(region)}
        case "aws:index/getPartition:getPartition":
            names = {"dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}
            return {"id": "aws", "partition": "aws", **names}
        case _:
            raise LocalError(
                f"the program calls {token}, which the local pipeline does not answer; add it to local/invokes.py"
            )


def _zones(region: str) -> list[str]:
    return [f"{region}{letter}" for letter in "abc"]
