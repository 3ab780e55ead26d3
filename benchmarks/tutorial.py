"""The ingest function as tutorials write it, beside which `make bench` sets the cold starts.

Powertools' Logger, Metrics and Tracer, its resolver with Pydantic's validation, and boto3's resources. It accepts one
event with one PutItem and one SendMessage. `make peers` installs what it imports.
"""

import os
import uuid
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, Field

logger, metrics, tracer = Logger(), Metrics(), Tracer()
app = APIGatewayRestResolver(enable_validation=True)
table = boto3.resource("dynamodb").Table(os.environ["TABLE_NAME"])
queue = boto3.resource("sqs").Queue(os.environ["QUEUE_URL"])


class Order(BaseModel):
    """The event."""

    event_type: str
    order_id: str = Field(alias="orderId", min_length=1)
    country: str
    amount: float
    note: str = ""


class Accepted(BaseModel):
    """The answer."""

    id: str
    status: str


@app.post("/events")
@tracer.capture_method
def submit(order: Order) -> Accepted:
    """Store the event and send it to the worker."""
    event_id, text = str(uuid.uuid4()), order.model_dump_json(by_alias=True)
    table.put_item(Item={"id": event_id, "status": "queued", "body": text})
    queue.send_message(MessageBody=text)
    metrics.add_metric(name="Accepted", unit=MetricUnit.Count, value=1)
    logger.info("accepted", extra={"event_id": event_id})
    return Accepted(id=event_id, status="queued")


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the function runs."""
    return {"status": "ok"}


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The Lambda entry point."""
    return app.resolve(event, context)
