"""Rules for networks: ways in and out."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from local.recording import Graph
from local.rules.rule import FUNCTION, Problem, rule
from local.rules.statements import PRINCIPALS, allows_everybody, statements

# The largest networks with one owner: 10.0.0.0/8, and the IPv6 allocation of a provider. Wider ranges include others:
# 0.0.0.0/1 and 128.0.0.0/1 are the whole internet. https://www.rfc-editor.org/rfc/rfc1918
SHORTEST_PREFIX: Mapping[int, int] = {4: 8, 6: 32}


@rule(
    "closed-security-groups",
    fix="name another security group, a prefix list or the network's own addresses",
    why="https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html",
)
def _closed_security_groups(graph: Graph) -> Iterator[Problem]:
    for resource in graph:
        if "securitygroup" in resource.type.lower():
            inputs = resource.inputs
            for each in (inputs, *inputs.get("ingress", []), *inputs.get("egress", [])):
                ranges = [
                    *(each[key] for key in ("cidrIpv4", "cidrIpv6") if key in each),
                    *each.get("cidrBlocks", []),
                    *each.get("ipv6CidrBlocks", []),
                ]
                wide = [text for text in ranges if _is_wide(text)]
                if wide:
                    yield resource, f"it is open to {', '.join(wide)}"


def _is_wide(text: str) -> bool:
    network = ip_network(text, strict=False)
    return network.prefixlen < SHORTEST_PREFIX[network.version]


@rule(
    "functions-in-vpc",
    fix="create it with components/function.py, which puts all functions into the stack's network",
    why="https://docs.aws.amazon.com/securityhub/latest/userguide/lambda-controls.html#lambda-3",
)
def _functions_in_vpc(graph: Graph) -> Iterator[Problem]:
    functions = graph.of_type(FUNCTION)
    connected = [function for function in functions if function.inputs.get("vpcConfig", {}).get("subnetIds")]
    if connected or graph.of_type("aws:ec2/vpc:Vpc"):
        for function in functions:
            if function not in connected:
                yield function, "the stack has a network, but this runs outside it"


@rule(
    "endpoint-policies",
    fix="a policy that allows only where aws:PrincipalAccount or aws:PrincipalOrgID is yours: components/network.py",
    why="https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html",
)
def _endpoint_policies(graph: Graph) -> Iterator[Problem]:
    for endpoint in graph.of_type("aws:ec2/vpcEndpoint:VpcEndpoint"):
        # The default policy of AWS allows everything to everybody.
        if "policy" not in endpoint.inputs or any(
            allows_everybody(statement, PRINCIPALS) for statement in statements(endpoint.inputs["policy"])
        ):
            yield endpoint, "it accepts credentials of any account, so data can leave the network through it"
