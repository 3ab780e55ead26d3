"""Changes to synthesised graphs, for tests of the rules: `given("Queue queue", kmsMasterKeyId=None)`.

A resource goes by its type and name without what all have in common: `Queue queue`, `Function worker`.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from local.monitor import Registration
from local.recording import ACCOUNT, Graph
from local.rules import Finding

QUEUE, FUNCTION = "aws:sqs/queue:Queue", "aws:lambda/function:Function"
STREAM = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"
ELSEWHERE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:elsewhere"

Change = Callable[[Graph], Iterator[Registration]]
Edit = Callable[[list[Any]], object]


def changed(graph: Graph, *changes: Change) -> Graph:
    """Return a graph after changes, applied one after the other."""
    for change in changes:
        graph = dataclasses.replace(graph, resources=list(change(graph)))
    return graph


def all_of(*changes: Change) -> Change:
    return lambda graph: iter(changed(graph, *changes))


def named(of: Registration | Finding) -> str:
    """Return the type and the name of a resource, shortened."""
    return f"{of.type.rsplit(':', 1)[1]} {of.name.removeprefix('pipeline-')}"


def arn_of(graph: Graph, resource: str) -> str:
    return next(arn for arn, each in graph.arns.items() if named(each) == resource)


# Changes of any resource


def edited(resource: str, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Change:
    """A resource with its inputs edited."""
    return lambda graph: (
        dataclasses.replace(each, inputs=edit(each.inputs)) if named(each) == resource and each.custom else each
        for each in graph
    )


def given(resource: str, **inputs: Any) -> Change:
    """A resource with other inputs. None takes one away."""
    return edited(resource, lambda own: {key: value for key, value in {**own, **inputs}.items() if value is not None})


def without(resource: str) -> Change:
    return lambda graph: (each for each in graph if named(each) != resource)


def added(kind: str, name: str, inputs: Mapping[str, Any], after: tuple[str, ...] = ()) -> Change:
    """An additional resource, which depends on others."""

    def change(graph: Graph) -> Iterator[Registration]:
        yield from graph
        first = next(each for each in graph if each.custom)
        yield dataclasses.replace(
            first,
            type=kind,
            name=f"pipeline-{name}",
            urn=f"urn:{kind}:{name}",
            physical_name=name,
            inputs=inputs,
            dependencies=tuple(each.urn for each in graph if each.custom and named(each) in after),
        )

    return change


# Edits of policies


def policy(resource: str, edit: Edit, key: str = "policy") -> Change:
    """A resource with the statements of its policy edited."""

    def edit_policy(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        document = json.loads(inputs[key])
        edit(document["Statement"])
        return {**inputs, key: json.dumps(document)}

    return edited(resource, edit_policy)


def appended(statement: Mapping[str, Any]) -> Edit:
    return lambda statements: statements.append(statement)


def narrowed(key: str, value: object) -> Edit:
    """Another value in the first statement."""
    return lambda statements: statements[0].update({key: value})


def unconditional(position: int) -> Edit:
    return lambda statements: statements[position].pop("Condition")


def last_denied(statements: list[Any]) -> None:
    statements[-1]["Effect"] = "Deny"


def allow(actions: list[str], resources: list[str]) -> Edit:
    return appended({"Effect": "Allow", "Action": actions, "Resource": resources})


def service(name: str, action: str = "sqs:SendMessage", **condition: Any) -> Edit:
    """Allow a service to do something."""
    statement = {"Effect": "Allow", "Principal": {"Service": name}, "Action": action, "Resource": "x"}
    return appended({**statement, **({"Condition": condition} if condition else {})})


def everybody(action: str, **condition: Any) -> Edit:
    """Allow everybody something, on a condition."""
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Resource": "*"}
    return appended({**statement, "Condition": condition})


def by_iam(**condition: Any) -> Edit:
    """Leave all use of a key to IAM, on a condition."""
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}
    return appended({**statement, "Condition": condition})


def of_the_key(actions: list[str], **condition: Any) -> Change:
    """Allow EventBridge to do something with the key."""
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": actions}
    return policy("Key key", appended({**statement, "Resource": "*", **condition}))


def federated(provider: str, **condition: Any) -> Change:
    """Allow accounts of an identity provider to take the worker's role."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        **({"Condition": condition} if condition else {}),
    }
    return policy("Role worker", appended(statement), "assumeRolePolicy")


# Queues, dead letters and alarms


def under_the_key(queue: str) -> Change:
    """Encrypt a queue with the stack's key."""

    def change(graph: Graph) -> Iterator[Registration]:
        (key,) = {each.inputs["kmsKeyArn"] for each in graph.of_type(FUNCTION)}
        return given(f"Queue {queue}", kmsMasterKeyId=key, sqsManagedSseEnabled=None)(graph)

    return change


def dead_letters_to(resource: str, queue: str) -> Change:
    """Send the dead letters of a resource to a queue of the stack."""
    return lambda graph: given(resource, deadLetterConfig={"targetArn": arn_of(graph, f"Queue {queue}")})(graph)


def dead_letters_of_the_worker(graph: Graph) -> Iterator[Registration]:
    """Send them to a queue without an alarm."""
    return dead_letters_to("Function worker", "queue")(graph)


def dead_letters_of_a_schedule(graph: Graph) -> Iterator[Registration]:
    target = {"arn": f"arn:aws:sns:us-east-1:{ACCOUNT}:t", "deadLetterConfig": {"arn": arn_of(graph, "Queue queue")}}
    return added("aws:scheduler/schedule:Schedule", "nightly", {"target": target})(graph)


def dead_letters_of_a_stream(graph: Graph) -> Iterator[Registration]:
    return reading(STREAM, destinationConfig={"onFailure": {"destinationArn": arn_of(graph, "Queue queue")}})(graph)


ALARM_ON_DEAD_LETTERS = "MetricAlarm watch-dead-letters"


def alarm(**inputs: Any) -> Change:
    """An alarm on the visible dead letters only, in place of the stack's, with other inputs."""

    def change(graph: Graph) -> Iterator[Registration]:
        plain = {
            "metricQueries": None,
            "namespace": "AWS/SQS",
            "metricName": "ApproximateNumberOfMessagesVisible",
            "dimensions": {"QueueName": graph.find(QUEUE, "pipeline-queue-dead-letters").physical_name},
            "period": 60,
            "statistic": "Maximum",
        }
        return given(ALARM_ON_DEAD_LETTERS, **{**plain, **inputs})(graph)

    return change


def alarm_on_a_sum(expression: str = "visible + hidden", *, of: str = "hidden", **metric: Any) -> Change:
    """The alarm on the dead letters, which watches a sum, with another expression, or another metric in it."""

    def edit(inputs: Mapping[str, Any]) -> dict[str, Any]:
        result, *others = inputs["metricQueries"]
        queries = [
            {**each, "metric": {**each["metric"], **metric}} if each["id"] == of or of == "both" else each
            for each in others
        ]
        return {**inputs, "metricQueries": [{**result, "expression": expression}, *queries]}

    return edited(ALARM_ON_DEAD_LETTERS, edit)


def alarm_of_the_queue(graph: Graph) -> Iterator[Registration]:
    """Add an alarm like that on the dead letters, on the queue that they come from."""
    one = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-dead-letters")
    queue = graph.find(QUEUE, "pipeline-queue").physical_name
    letters = graph.find(QUEUE, "pipeline-queue-dead-letters").physical_name
    inputs = json.loads(json.dumps(one.inputs).replace(f'"{letters}"', f'"{queue}"'))
    return added(one.type, "watch-queue", inputs)(graph)


def policy_with_the_queue(graph: Graph) -> Iterator[Registration]:
    """Give the queue itself the policy of its `aws.sqs.QueuePolicy`."""
    document = graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-queue").inputs["policy"]
    return given("Queue queue", policy=document)(graph)


def redrive_policy_of_its_own(graph: Graph) -> Iterator[Registration]:
    """Add an `aws.sqs.RedrivePolicy` for the queue."""
    queue = graph.find(QUEUE, "pipeline-queue").physical_name
    target = arn_of(graph, "Queue queue-dead-letters")
    inputs = {
        "queueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{queue}",
        "redrivePolicy": json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 5}),
    }
    return added("aws:sqs/redrivePolicy:RedrivePolicy", "queue", inputs)(graph)


# Functions, and what invokes them


def variable(name: str, value: str) -> Change:
    """Add an environment variable to the worker."""
    return edited(
        "Function worker",
        lambda own: {**own, "environment": {"variables": {**own["environment"]["variables"], name: value}}},
    )


def reading(arn: str, **inputs: Any) -> Change:
    """Let a function read a stream or a queue."""
    return added("aws:lambda/eventSourceMapping:EventSourceMapping", "reads", {"eventSourceArn": arn, **inputs})


def subscribed(endpoint: str, protocol: str = "lambda") -> Change:
    """Subscribe an endpoint to a topic, with dead letters."""
    kept = json.dumps({"deadLetterTargetArn": ELSEWHERE})
    inputs = {"protocol": protocol, "endpoint": endpoint, "redrivePolicy": kept}
    return added("aws:sns/topicSubscription:TopicSubscription", "told", inputs)


def told(name: str, version: str = "") -> Change:
    """Subscribe a function to a topic, with dead letters."""
    return lambda graph: subscribed(arn_of(graph, f"Function {name}") + version)(graph)


def told_of_its_name(graph: Graph) -> Iterator[Registration]:
    """Subscribe a queue that has the name of a function."""
    name = graph.find(FUNCTION, "pipeline-worker").physical_name
    return subscribed(f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}", "sqs")(graph)


def invoked(kind: str) -> Change:
    """Let a schedule or a rule invoke the worker, with dead letters."""

    def change(graph: Graph) -> Iterator[Registration]:
        target = {"arn": arn_of(graph, "Function worker"), "deadLetterConfig": {"arn": ELSEWHERE}}
        return added(kind, "invokes", {"target": target} if "schedule" in kind else target)(graph)

    return change


def kept(version: str, **inputs: Any) -> Change:
    """Add an on-failure destination to a version of the worker."""

    def change(graph: Graph) -> Iterator[Registration]:
        config = {
            "functionName": arn_of(graph, "Function worker") + version,
            "destinationConfig": {"onFailure": {"destination": ELSEWHERE}},
            **inputs,
        }
        return added("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "kept", config)(graph)

    return change


def tells_the_worker(outcome: str) -> Change:
    """Make the worker a destination of the breaker's events."""

    def change(graph: Graph) -> Iterator[Registration]:
        worker = {outcome: {"destination": arn_of(graph, "Function worker")}}
        return edited(
            "FunctionEventInvokeConfig breaker",
            lambda own: {**own, "destinationConfig": {**own["destinationConfig"], **worker}},
        )(graph)

    return change


# APIs


def route(key: str, authorization: str | None = None, to: str = "api") -> Change:
    """Add a route to an HTTP API."""
    inputs = {"routeKey": key, **({"authorizationType": authorization} if authorization else {})}
    return added("aws:apigatewayv2/route:Route", "more", inputs, after=(f"Integration {to}",))


def integration(uri: str) -> Change:
    return added("aws:apigatewayv2/integration:Integration", "more", {"integrationUri": uri})


def method(path: str, verb: str, authorization: str, resource: str = "", function: str = "ingest") -> Change:
    """Add a method to a REST API, at `path` below an existing resource or the root."""

    def change(graph: Graph) -> Iterator[Registration]:
        api = graph.of_type("aws:apigateway/stage:Stage")[0].inputs["restApi"]
        inputs = {"restApi": api, "httpMethod": verb}
        uri = arn_of(graph, f"Function {function}")
        part = added("aws:apigateway/resource:Resource", "part", {"restApi": api, "pathPart": path}, after=(resource,))
        at = ("Resource part",) if path else ()
        return all_of(
            *([part] if path else []),
            added("aws:apigateway/method:Method", "more", {**inputs, "authorization": authorization}, after=at),
            added("aws:apigateway/integration:Integration", "more", {**inputs, "uri": uri}, after=at),
        )(graph)

    return change
