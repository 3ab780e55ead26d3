"""The functions' network and the only ways out of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from local.monitor import Monitor
from local.recording import Graph, synthesise
from tests.graphs import SAMPLES

INTERFACES = {
    "Sid": "BeConnectedToTheNetwork",
    "Effect": "Allow",
    "Action": [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    ],
    "Resource": ["*"],
    "Condition": {"Null": {"lambda:SourceFunctionArn": "true"}},
}
NETWORK_TYPES = ("aws:ec2/", "aws:vpc/")


@pytest.fixture(scope="session")
def private(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of(network={"vpc": {}})


def untagged(graph: Graph, kind: str) -> dict[str, dict[str, Any]]:
    """The inputs of a type's resources, by name."""
    made = {each.name.removeprefix("pipeline-network"): dict(each.inputs) for each in graph.of_type(kind)}
    assert all(inputs.pop("tags", None) or kind.endswith("RouteTableAssociation") for inputs in made.values())
    return made


def services(graph: Graph) -> dict[str, str]:
    """The services that have an endpoint, and of which type that is."""
    made = graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
    return {each.inputs["serviceName"].rpartition(".")[2]: each.inputs["vpcEndpointType"] for each in made}


def test_without_a_vpc_there_is_nothing_of_one(dev: Graph) -> None:
    assert not [each for each in dev if each.type.startswith(NETWORK_TYPES)]
    for function in dev.of_type("aws:lambda/function:Function"):
        assert "vpcConfig" not in function.inputs
    assert "ec2:" not in "".join(each.inputs["policy"] for each in dev.of_type("aws:iam/rolePolicy:RolePolicy"))


def test_the_network_is_two_private_subnets_in_two_zones_and_no_way_out(private: Graph) -> None:
    kinds = {each.type.rsplit(":", 1)[1] for each in private if each.type.startswith(NETWORK_TYPES)}
    assert not kinds & {"InternetGateway", "NatGateway", "Route", "EgressOnlyInternetGateway"}
    assert untagged(private, "aws:ec2/vpc:Vpc") == {
        "": {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True, "enableDnsHostnames": True},
    }
    vpc = one_id(private, "subnet:Subnet", "vpcId")
    assert untagged(private, "aws:ec2/subnet:Subnet") == {
        "-0": {"vpcId": vpc, "cidrBlock": "10.0.0.0/24", "availabilityZone": "us-east-1a"},
        "-1": {"vpcId": vpc, "cidrBlock": "10.0.1.0/24", "availabilityZone": "us-east-1b"},
    }
    assert untagged(private, "aws:ec2/routeTable:RouteTable") == {"": {"vpcId": vpc}}
    assert untagged(private, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup") == {"-default": {"vpcId": vpc}}
    associated = untagged(private, "aws:ec2/routeTableAssociation:RouteTableAssociation")
    assert {each["subnetId"] for each in associated.values()} == set(subnets(private))
    assert {each["routeTableId"] for each in associated.values()} == {route_table(private)}


def test_a_change_of_the_available_zones_replaces_no_subnet(private: Graph) -> None:
    assert {each.ignored_changes for each in private.of_type("aws:ec2/subnet:Subnet")} == {("availabilityZone",)}


def one_id(graph: Graph, kind: str, key: str) -> str:
    """Return the one value that all resources of a type have as their `key`."""
    (found,) = {each.inputs[key] for each in graph.of_type(f"aws:ec2/{kind}")}
    return str(found)


def route_table(graph: Graph) -> str:
    return one_id(graph, "routeTableAssociation:RouteTableAssociation", "routeTableId")


def subnets(graph: Graph) -> list[str]:
    associated = graph.of_type("aws:ec2/routeTableAssociation:RouteTableAssociation")
    return sorted(each.inputs["subnetId"] for each in associated)


def groups(graph: Graph) -> tuple[str, str]:
    """The security groups of the functions and of the endpoints."""
    (into,) = untagged(graph, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").values()
    return into["referencedSecurityGroupId"], into["securityGroupId"]


def test_functions_are_in_both_subnets_and_in_the_one_group_and_wait_for_their_ways_out(private: Graph) -> None:
    functions, _ = groups(private)
    made = private.of_type("aws:lambda/function:Function")
    assert len(made) == 2
    for function in made:
        network = function.inputs["vpcConfig"]
        assert (sorted(network["subnetIds"]), network["securityGroupIds"]) == (subnets(private), [functions])
        waits_for = {private.by_urn(urn).name for urn in function.dependencies}
        assert {f"pipeline-network-{service}" for service in ("sqs", "dynamodb", "s3")} <= waits_for


def test_a_worker_that_can_pause_waits_for_the_ways_that_it_does_so_by(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("ingestion")
    late = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", "pipeline-breaker-pause").inputs["policy"])
    called = {statement["Action"][0].partition(":")[0] for statement in late["Statement"]}
    worker = graph.find("aws:lambda/function:Function", "pipeline-worker")
    waits_for = {graph.by_urn(urn).name for urn in worker.dependencies}
    assert called == {"ssm", "lambda"}
    assert {f"pipeline-network-{service}" for service in called} <= waits_for


def test_endpoints_are_for_just_the_services_that_the_functions_call(graph_of: Callable[..., Graph]) -> None:
    def made(stack: str, **config: Any) -> dict[str, str]:
        return services(graph_of(stack, network={"vpc": {}}, **config))

    gateways = {"s3": "Gateway", "dynamodb": "Gateway"}
    assert made("dev") == {**gateways, "sqs": "Interface", "sns": "Interface"}
    assert made("csv") == {**gateways, "sqs": "Interface", "sns": "Interface"}
    # The worker's failures are put into the queue by Lambda, not by its code.
    assert made("iot") == {**gateways, "sns": "Interface"}
    assert made("dev", storage={"results": "inline"}) == {"dynamodb": "Gateway", "sqs": "Interface", "sns": "Interface"}
    assert made("iot", tracing=True) == {**gateways, "sns": "Interface", "xray": "Interface"}
    # Queues, tables and buckets use the key, and Lambda writes the logs: the functions' code calls neither.
    assert made("dev", encryption={"customer_key": {}}) == made("dev")


def test_gateways_are_routes_and_the_others_have_their_services_own_names(private: Graph) -> None:
    made = untagged(private, "aws:ec2/vpcEndpoint:VpcEndpoint")
    for endpoint in made.values():
        del endpoint["policy"]
    vpc = one_id(private, "subnet:Subnet", "vpcId")
    _, endpoints = groups(private)
    assert made["-s3"] == {
        "vpcId": vpc,
        "serviceName": "com.amazonaws.us-east-1.s3",
        "vpcEndpointType": "Gateway",
        "routeTableIds": [route_table(private)],
    }
    made["-sqs"]["subnetIds"].sort()
    assert made["-sqs"] == {
        "vpcId": vpc,
        "serviceName": "com.amazonaws.us-east-1.sqs",
        "vpcEndpointType": "Interface",
        "privateDnsEnabled": True,
        "subnetIds": subnets(private),
        "securityGroupIds": [endpoints],
    }


def test_an_endpoint_is_in_the_zones_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered_in(*zones: str) -> Graph:
        answers = {"id": "x", "availabilityZones": list(zones)}
        asked = Monitor._invoked
        token = "aws:ec2/getVpcEndpointService:getVpcEndpointService"
        with monkeypatch.context() as patched:
            patched.setattr(Monitor, "_invoked", lambda self, each: answers if each == token else asked(self, each))
            return synthesise(SAMPLES, "dev", {"network": {"vpc": {}}})

    graph = offered_in("us-east-1b", "us-east-1f")
    second = untagged(graph, "aws:ec2/routeTableAssociation:RouteTableAssociation")["-1"]["subnetId"]
    made = untagged(graph, "aws:ec2/vpcEndpoint:VpcEndpoint")
    assert [made["-sqs"]["subnetIds"], made["-sns"]["subnetIds"]] == [[second], [second]]
    with pytest.raises(Exception, match=r"has no endpoint in us-east-1a or us-east-1b: network\.vpc must name subnets"):
        offered_in("us-east-1f")


def test_endpoints_serve_this_account_only_and_gateways_its_buckets_and_tables_only(private: Graph) -> None:
    made = untagged(private, "aws:ec2/vpcEndpoint:VpcEndpoint")
    allowed = {name: json.loads(endpoint["policy"])["Statement"] for name, endpoint in made.items()}
    anything = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}
    ours = {"aws:PrincipalAccount": "123456789012"}
    interface = [{**anything, "Condition": {"StringEquals": ours}}]
    gateway = [{**anything, "Condition": {"StringEquals": {**ours, "aws:ResourceAccount": "123456789012"}}}]
    assert allowed == {"-sqs": interface, "-sns": interface, "-dynamodb": gateway, "-s3": gateway}


def test_security_groups_let_https_to_the_endpoints_through_and_nothing_else(private: Graph) -> None:
    functions, endpoints = groups(private)
    assert functions != endpoints
    https = {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443}
    for group in untagged(private, "aws:ec2/securityGroup:SecurityGroup").values():
        assert not {"ingress", "egress"} & set(group)
    assert untagged(private, "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule") == {
        "-endpoints": {**https, "securityGroupId": endpoints, "referencedSecurityGroupId": functions},
    }
    out = untagged(private, "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule")
    assert {rule.pop("prefixListId")[:3] for name, rule in out.items() if name != "-endpoints"} == {"pl-"}
    assert out == {
        "-endpoints": {**https, "securityGroupId": functions, "referencedSecurityGroupId": endpoints},
        "-s3": {**https, "securityGroupId": functions},
        "-dynamodb": {**https, "securityGroupId": functions},
    }


def test_roles_may_connect_their_function_and_the_functions_code_may_not(private: Graph, dev: Graph) -> None:
    for policy in private.of_type("aws:iam/rolePolicy:RolePolicy"):
        plain = dev.find("aws:iam/rolePolicy:RolePolicy", policy.name).inputs["policy"]
        assert json.loads(policy.inputs["policy"])["Statement"] == [*json.loads(plain)["Statement"], INTERFACES]


def test_a_network_that_is_there_is_used_as_it_is(graph_of: Callable[..., Graph]) -> None:
    given = {"subnet_ids": ["subnet-0a", "subnet-0b"], "security_group_ids": ["sg-0c"]}
    graph = graph_of("iot", network={"vpc": given})
    assert not [each for each in graph if each.type.startswith(NETWORK_TYPES)]
    for function in graph.of_type("aws:lambda/function:Function"):
        assert function.inputs["vpcConfig"] == {"subnetIds": given["subnet_ids"], "securityGroupIds": ["sg-0c"]}
    for name in ("pipeline-worker", "pipeline-watcher"):
        policy = graph.find("aws:iam/rolePolicy:RolePolicy", name)
        assert json.loads(policy.inputs["policy"])["Statement"][-1] == INTERFACES
