"""The network of the functions: Lambda's own, an existing VPC, or a VPC without internet access."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.options.common import NetworkOptions

# Nothing else is in the VPC and nothing leads there, so it may be the same range in every stack. Functions share their
# network interfaces: 251 addresses a zone are plenty.
VPC_RANGE = "10.0.0.0/16"
SUBNET_RANGES = ("10.0.0.0/24", "10.0.1.0/24")
_HTTPS: Mapping[str, Any] = {"ip_protocol": "tcp", "from_port": 443, "to_port": 443}

# Those that a route leads to, at no cost: https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
GATEWAY_SERVICES = ("dynamodb", "s3")


@dataclass(frozen=True)
class ExistingNetwork:
    """Subnets and security groups of somebody else, who also sees to the ways out of them."""

    subnet_ids: Sequence[Input[str]]
    security_group_ids: Sequence[Input[str]]

    def ways_to(self, _services: Sequence[str]) -> list[pulumi.Resource]:
        """None that are ours."""
        return []


class PrivateNetwork(pulumi.ComponentResource):
    """A VPC with a private subnet in each of two zones: no internet gateway, no NAT, nobody gets in.

    Beside lookups of names, which no security group closes, the only ways out are endpoints of the services that
    functions call, made as functions ask for them, and the security groups let HTTPS through to just these. They serve
    credentials of this account only, and S3 and DynamoDB its buckets and tables only, so that whoever takes a function
    over cannot carry data off through them with keys of his own.
    https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html
    https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-dns-firewall.html
    """

    def __init__(self, name: str, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:PrivateNetwork", name, None, opts)
        child = ResourceOptions(parent=self)
        self._name = name
        self._endpoints: dict[str, list[pulumi.Resource]] = {}
        # Both are what the endpoints' own names need, so that the AWS SDK finds them without being told.
        vpc = aws.ec2.Vpc(name, cidr_block=VPC_RANGE, enable_dns_support=True, enable_dns_hostnames=True, opts=child)
        self._vpc_id = vpc.id
        # AWS gives each VPC a group that lets all its members talk to each other. Nobody is in it, and it lets nothing.
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, opts=child)
        routes = aws.ec2.RouteTable(name, vpc_id=vpc.id, opts=child)
        self._route_table_id = routes.id
        self.subnet_ids = self._subnets()
        functions = aws.ec2.SecurityGroup(
            f"{name}-functions", vpc_id=vpc.id, description="Functions: HTTPS to the endpoints", opts=child
        )
        self._functions_id = functions.id
        self.security_group_ids = [functions.id]
        endpoints = aws.ec2.SecurityGroup(
            f"{name}-endpoints", vpc_id=vpc.id, description="Endpoints: HTTPS from the functions", opts=child
        )
        self._endpoints_id = endpoints.id
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-endpoints",
            security_group_id=endpoints.id,
            referenced_security_group_id=functions.id,
            **_HTTPS,
            opts=child,
        )
        self._to_endpoints = aws.vpc.SecurityGroupEgressRule(
            f"{name}-endpoints",
            security_group_id=functions.id,
            referenced_security_group_id=endpoints.id,
            **_HTTPS,
            opts=child,
        )
        self.register_outputs({"vpc_id": vpc.id})

    def _subnets(self) -> list[Output[str]]:
        child = ResourceOptions(parent=self)
        # Without those that have to be opted in to, such as Local Zones, where Lambda does not run.
        zones = aws.get_availability_zones_output(
            state="available", filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}]
        )
        self._zones = [zones.names[position] for position in range(len(SUBNET_RANGES))]
        ids = []
        for position, (addresses, zone) in enumerate(zip(SUBNET_RANGES, self._zones, strict=True)):
            label = f"{self._name}-{position}"
            subnet = aws.ec2.Subnet(
                label,
                vpc_id=self._vpc_id,
                cidr_block=addresses,
                availability_zone=zone,
                # The zones come from a live list: an impaired zone must not replace subnets that are in use.
                opts=ResourceOptions.merge(child, ResourceOptions(ignore_changes=["availability_zone"])),
            )
            aws.ec2.RouteTableAssociation(label, subnet_id=subnet.id, route_table_id=self._route_table_id, opts=child)
            ids.append(subnet.id)
        return ids

    def ways_to(self, services: Sequence[str]) -> list[pulumi.Resource]:
        """Endpoints that a function needs to call these services (`sqs`), created on first use."""
        for service in services:
            if service not in self._endpoints:
                make = self._gateway if service in GATEWAY_SERVICES else self._interface
                self._endpoints[service] = make(service)
        return [resource for service in services for resource in self._endpoints[service]]

    def _gateway(self, service: str) -> list[pulumi.Resource]:
        child = ResourceOptions(parent=self)
        label = f"{self._name}-{service}"
        endpoint = aws.ec2.VpcEndpoint(
            label,
            vpc_id=self._vpc_id,
            service_name=_service_name(service),
            vpc_endpoint_type="Gateway",
            policy=_own_account("aws:PrincipalAccount", "aws:ResourceAccount"),
            route_table_ids=[self._route_table_id],
            opts=child,
        )
        rule = aws.vpc.SecurityGroupEgressRule(
            label,
            security_group_id=self._functions_id,
            prefix_list_id=endpoint.prefix_list_id,
            **_HTTPS,
            opts=child,
        )
        return [endpoint, rule]

    def _interface(self, service: str) -> list[pulumi.Resource]:
        endpoint = aws.ec2.VpcEndpoint(
            f"{self._name}-{service}",
            vpc_id=self._vpc_id,
            service_name=_service_name(service),
            vpc_endpoint_type="Interface",
            policy=_own_account("aws:PrincipalAccount"),
            # The service's usual name leads to the endpoint.
            private_dns_enabled=True,
            subnet_ids=self._subnets_with(service),
            security_group_ids=[self._endpoints_id],
            opts=ResourceOptions(parent=self),
        )
        return [endpoint, self._to_endpoints]

    def _subnets_with(self, service: str) -> Output[list[str]]:
        """Those in zones that the service has endpoints in: not each is everywhere. One serves the whole VPC."""
        offered = aws.ec2.get_vpc_endpoint_service_output(
            service_name=_service_name(service), service_type="Interface"
        ).availability_zones

        def chosen(known: Sequence[Any]) -> Output[list[str]]:
            offering, *zones = known
            ids = [subnet for subnet, zone in zip(self.subnet_ids, zones, strict=True) if zone in offering]
            if not ids:
                raise ValueError(
                    f"{service} has no endpoint in {' or '.join(zones)}: network.vpc must name subnets of your own"
                )
            return Output.all(*ids)

        return Output.all(offered, *self._zones).apply(chosen)


Network = ExistingNetwork | PrivateNetwork


def network_of(name: str, options: NetworkOptions, *, opts: ResourceOptions) -> Network | None:
    """The network that a stack's functions run in; None is Lambda's own."""
    vpc = options.vpc
    if vpc is None:
        return None
    if vpc.subnet_ids:
        return ExistingNetwork(vpc.subnet_ids, vpc.security_group_ids)
    return PrivateNetwork(name, opts=opts)


def _service_name(service: str) -> Output[str]:
    region = aws.get_region_output().region
    # PrivateLink and IAM have one name for each service that functions call.
    # https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html
    return Output.concat("com.amazonaws.", region, ".", service)


def _own_account(*keys: str) -> Output[str]:
    """An endpoint's policy, which limits what roles may do besides their own policies.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_data-perimeters.html
    """
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    account = aws.get_caller_identity_output().account_id
    condition = {"StringEquals": dict.fromkeys(keys, account)}
    return Output.json_dumps({"Version": "2012-10-17", "Statement": [{**allowed, "Condition": condition}]})
