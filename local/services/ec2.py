"""Networks. Functions refer to them, but the emulator does not enforce them."""

from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs


def _tagged(kind: str, inputs: Inputs) -> dict[str, Any]:
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": pairs(inputs.tags)}]} if inputs.tags else {}


@creates("aws:ec2/vpc:Vpc")
def vpc(aws: Clients, _name: str, inputs: Inputs) -> Created:
    made = aws("ec2").create_vpc(CidrBlock=inputs["cidrBlock"], **_tagged("vpc", inputs))["Vpc"]["VpcId"]
    for key, attribute in {"enableDnsSupport": "EnableDnsSupport", "enableDnsHostnames": "EnableDnsHostnames"}.items():
        if key in inputs:
            aws("ec2").modify_vpc_attribute(VpcId=made, **{attribute: {"Value": inputs[key]}})
    return Created(made)


@creates("aws:ec2/subnet:Subnet")
def subnet(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(VpcId="vpcId", CidrBlock="cidrBlock", AvailabilityZone="availabilityZone")
    return Created(aws("ec2").create_subnet(**request, **_tagged("subnet", inputs))["Subnet"]["SubnetId"])


@creates("aws:ec2/routeTable:RouteTable")
def route_table(aws: Clients, _name: str, inputs: Inputs) -> Created:
    made = aws("ec2").create_route_table(VpcId=inputs["vpcId"], **_tagged("route-table", inputs))
    return Created(made["RouteTable"]["RouteTableId"])


@creates("aws:ec2/routeTableAssociation:RouteTableAssociation")
def route_table_association(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(RouteTableId="routeTableId", SubnetId="subnetId")
    return Created(aws("ec2").associate_route_table(**request)["AssociationId"])


@creates("aws:ec2/vpcEndpoint:VpcEndpoint")
def vpc_endpoint(aws: Clients, _name: str, inputs: Inputs) -> Created:
    request = inputs.renamed(
        VpcId="vpcId",
        ServiceName="serviceName",
        VpcEndpointType="vpcEndpointType",
        PrivateDnsEnabled="privateDnsEnabled",
        RouteTableIds="routeTableIds",
        SubnetIds="subnetIds",
        SecurityGroupIds="securityGroupIds",
        PolicyDocument="policy",
    )
    client = aws("ec2")
    made = client.create_vpc_endpoint(**request, **_tagged("vpc-endpoint", inputs))["VpcEndpoint"]["VpcEndpointId"]
    if inputs.get("vpcEndpointType", "Gateway") != "Gateway":
        return Created(made)
    named = [{"Name": "prefix-list-name", "Values": [inputs["serviceName"]]}]
    (prefixes,) = client.describe_prefix_lists(Filters=named)["PrefixLists"]
    return Created(made, {"prefixListId": prefixes["PrefixListId"]})


@creates("aws:ec2/securityGroup:SecurityGroup")
def security_group(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    made = aws("ec2").create_security_group(
        GroupName=name,
        Description=inputs.get("description", "Managed by Pulumi"),
        VpcId=inputs["vpcId"],
        **_tagged("security-group", inputs),
    )["GroupId"]
    _close(aws, made)
    return Created(made, {"name": name})


@creates("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
def default_security_group(aws: Clients, _name: str, inputs: Inputs) -> Created:
    filters = [{"Name": "vpc-id", "Values": [inputs["vpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    (group,) = aws("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
    _close(aws, group["GroupId"])
    return Created(group["GroupId"])


def _close(aws: Clients, group_id: str) -> None:
    """Remove the rules that AWS gives a new group, as Pulumi's provider does."""
    (group,) = aws("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    if rules := group["IpPermissions"]:
        aws("ec2").revoke_security_group_ingress(GroupId=group_id, IpPermissions=rules)
    if rules := group["IpPermissionsEgress"]:
        aws("ec2").revoke_security_group_egress(GroupId=group_id, IpPermissions=rules)


@creates("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule")
def ingress_rule(aws: Clients, _name: str, inputs: Inputs) -> Created:
    return _rule(inputs, aws("ec2").authorize_security_group_ingress)


@creates("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
def egress_rule(aws: Clients, _name: str, inputs: Inputs) -> Created:
    return _rule(inputs, aws("ec2").authorize_security_group_egress)


def _rule(inputs: Inputs, authorize: Any) -> Created:
    permission = inputs.renamed(IpProtocol="ipProtocol", FromPort="fromPort", ToPort="toPort")
    if "referencedSecurityGroupId" in inputs:
        permission["UserIdGroupPairs"] = [{"GroupId": inputs["referencedSecurityGroupId"]}]
    if "prefixListId" in inputs:
        permission["PrefixListIds"] = [{"PrefixListId": inputs["prefixListId"]}]
    made = authorize(
        GroupId=inputs["securityGroupId"],
        IpPermissions=[permission],
        **_tagged("security-group-rule", inputs),
    )
    return Created(made["SecurityGroupRules"][0]["SecurityGroupRuleId"])
