"""The DynamoDB edge: plain values to and from DynamoDB's JSON, and calls that retry what DynamoDB throttles.

A batch succeeds although some of its entries were throttled, so botocore does not retry them. They are retried here
with back-off and jitter, as is a call that was throttled as a whole.

Statements go 25 to a call, each with its own condition and answer: for ten events a tenth of the calls of PutItem or
UpdateItem, at the same price.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchExecuteStatement.html
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from handlers.shared import aws
from handlers.shared.backoff import backoff

Entry = TypeVar("Entry")
Item = Mapping[str, Any]
"""Plain values by attribute name."""
Typed = dict[str, Any]
"""DynamoDB's JSON: `{"id": {"S": "a"}}`."""
Condition = tuple[str, str, object]
"""Attribute name, operator and value: `("status", "<>", "succeeded")`."""

STATEMENTS_A_CALL = 25
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
WRITES_A_CALL = 25
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
KEYS_A_CALL = 100

# Attempts in a row that get nothing done. With botocore's own retries they end within a function's 29 seconds.
ATTEMPTS = 5
PAUSE_SECONDS = 0.1
MAXIMUM_PAUSE_SECONDS = 2.0
THROTTLED_ENTRIES = (
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "InternalServerError",
)
THROTTLED_CALLS = ("ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded")
CONDITION_FAILED = ("ConditionalCheckFailed", "DuplicateItem")


class TableError(Exception):
    """DynamoDB refused an entry for a reason other than its condition, or throttled it at every attempt."""


def outside_errors() -> tuple[type[Exception], ...]:
    """Return the errors of services, for an `except`: botocore's, and TableError."""
    return (*aws.errors(), TableError)


@dataclass(frozen=True)
class Statement:
    """One PartiQL statement, with its parameters in DynamoDB's JSON."""

    text: str
    parameters: Sequence[Typed]


@dataclass(frozen=True)
class Refusal:
    """A statement whose condition failed. `item` is the item that failed it, None if there is no item."""

    item: Item | None


def typed_value(value: object) -> Typed:
    """Return a plain value in DynamoDB's JSON. Raises TypeError for a type that no table here holds."""
    match value:
        case str():
            return {"S": value}
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case Decimal() | int() | float():
            return {"N": str(value)}
        case Mapping():
            return {"M": typed(value)}
        case list() | tuple():
            return {"L": [typed_value(each) for each in value]}
        case _:
            raise TypeError(f"DynamoDB: no attribute can hold a value of type {type(value).__name__}")


def typed(item: Item) -> Typed:
    """Return an item in DynamoDB's JSON."""
    return {name: typed_value(value) for name, value in item.items()}


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)


def plain(item: Mapping[str, Mapping[str, Any]], number: Callable[[str], Any] = _number) -> dict[str, Any]:
    """Return an item from DynamoDB's JSON as plain values. `number` reads a number, exactly as DynamoDB has it."""
    return {name: _plain_value(value, number) for name, value in item.items()}


def _plain_value(typed_value: Mapping[str, Any], number: Callable[[str], Any]) -> Any:
    ((kind, content),) = typed_value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return number(content)
        case "M":
            return plain(content, number)
        case "L":
            return [_plain_value(each, number) for each in content]
        case _:
            return content


class Table:
    """One table. Its calls raise TableError, and botocore's errors for a call that failed as a whole.

    `number` reads the numbers of items: int or float unless given.
    """

    def __init__(self, name: str, number: Callable[[str], Any] = _number) -> None:
        self.name = name
        self._client = aws.client("dynamodb")
        self._number = number

    def _plain(self, item: Typed) -> dict[str, Any]:
        return plain(item, self._number)

    # Reading

    def get(self, keys: Iterable[Item], names: Sequence[str] = (), *, consistent: bool = True) -> list[dict[str, Any]]:
        """Return the items that exist, in no particular order; of each the attributes `names`, or all."""
        found: list[dict[str, Any]] = []
        wanted: dict[str, Any] = {"ConsistentRead": consistent}
        if names:
            wanted |= {
                "ProjectionExpression": ", ".join(f"#{name}" for name in names),
                "ExpressionAttributeNames": {f"#{name}": name for name in names},
            }

        def call(pending: Sequence[Typed]) -> Sequence[Typed]:
            answer = self._client.batch_get_item(RequestItems={self.name: {"Keys": pending, **wanted}})
            found.extend(self._plain(item) for item in answer["Responses"].get(self.name, []))
            left: Sequence[Typed] = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            return left

        for part in aws.chunks([typed(key) for key in keys], KEYS_A_CALL):
            self._retry(part, call)
        return found

    def item(self, key: Item) -> dict[str, Any] | None:
        """Return one item, strongly consistent; None if there is none."""
        answer = self._single(self._client.get_item, Key=typed(key), ConsistentRead=True)
        return self._plain(answer["Item"]) if "Item" in answer else None

    def query(self, **request: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a query, each read when it is asked for. `request` has plain `values`."""
        request["ExpressionAttributeValues"] = typed({f":{name}": each for name, each in request.pop("values").items()})
        while True:
            answer = self._single(self._client.query, **request)
            yield [self._plain(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    # Writing

    def put(self, entries: Sequence[Entry], item_of: Callable[[Entry], Item]) -> None:
        """Write the items of entries, each over the one with its key. Memory holds the items of a few calls at once."""

        def call(pending: Sequence[Typed]) -> Sequence[Typed]:
            answer = self._client.batch_write_item(RequestItems={self.name: pending})
            left: Sequence[Typed] = answer.get("UnprocessedItems", {}).get(self.name, [])
            return left

        def put_part(part: Sequence[Entry]) -> None:
            self._retry([{"PutRequest": {"Item": typed(item_of(entry))}} for entry in part], call)

        aws.each(put_part, aws.chunks(list(entries), WRITES_A_CALL))

    def put_if(self, item: Item, condition: str, values: Item) -> bool:
        """Write an item if a condition holds. Returns False if it does not."""
        try:
            self._single(
                self._client.put_item,
                Item=typed(item),
                ConditionExpression=condition,
                ExpressionAttributeValues=typed({f":{name}": value for name, value in values.items()}),
            )
        except aws.errors() as error:
            if not _is_refusal(error):
                raise
            return False
        return True

    def update(
        self, key: Item, expression: str, condition: str, names: Iterable[str], values: Item
    ) -> dict[str, Any] | None:
        """Update an item if a condition holds. Returns the item after it, None if the condition does not hold.

        `#name` and `:name` in the expressions stand for the attribute, and for its value in `values`.
        """
        try:
            answer = self._single(
                self._client.update_item,
                Key=typed(key),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames={f"#{name}": name for name in names},
                ExpressionAttributeValues=typed({f":{name}": value for name, value in values.items()}),
                ReturnValues="ALL_NEW",
            )
        except aws.errors() as error:
            if not _is_refusal(error):
                raise
            return None
        return self._plain(answer["Attributes"])

    # Statements

    def insert_statement(self, item: Item) -> Statement:
        """Return the statement that writes an item if there is none with its key."""
        names = ", ".join(f"'{name}': ?" for name in item)
        return Statement(f'INSERT INTO "{self.name}" VALUE {{{names}}}', list(typed(item).values()))

    def update_statement(
        self, key: Item, changes: Item, *conditions: Condition, removed: Iterable[str] = ()
    ) -> Statement:
        """Return the statement that sets and removes attributes of an item where its conditions hold."""
        assignments = " ".join([*(f'SET "{name}"=?' for name in changes), *(f'REMOVE "{name}"' for name in removed)])
        where, parameters = _where(key, conditions)
        return Statement(f'UPDATE "{self.name}" {assignments}{where}', [*typed(changes).values(), *parameters])

    def delete_statement(self, key: Item, *conditions: Condition) -> Statement:
        """Return the statement that deletes an item where its conditions hold."""
        where, parameters = _where(key, conditions)
        # The table's name is our own setting; values are parameters.
        return Statement(f'DELETE FROM "{self.name}"{where}', parameters)  # noqa: S608

    def execute(self, statements: Sequence[Statement]) -> list[Refusal | None]:
        """Run statements, in no particular order. For each: None when it is done, else why it was refused."""
        parts = aws.each(self._execute_part, aws.chunks(list(statements), STATEMENTS_A_CALL))
        return [refusal for part in parts for refusal in part]

    def _execute_part(self, statements: Sequence[Statement]) -> list[Refusal | None]:
        refusals: list[Refusal | None] = [None] * len(statements)

        def call(pending: Sequence[int]) -> Sequence[int]:
            answer = self._client.batch_execute_statement(Statements=[_request(statements[each]) for each in pending])
            throttled = []
            for position, response in zip(pending, answer["Responses"], strict=True):
                error = response.get("Error", {"Code": ""})
                if error["Code"] in THROTTLED_ENTRIES:
                    throttled.append(position)
                elif error["Code"] in CONDITION_FAILED:
                    refusals[position] = Refusal(self._plain(error["Item"]) if error.get("Item") else None)
                elif error["Code"]:
                    raise TableError(f"{self.name}: {error['Code']}: {error.get('Message', '')}")
            return throttled

        self._retry(range(len(statements)), call)
        return refusals

    # Retrying

    def _single(self, operation: Callable[..., Any], **request: Any) -> Any:
        answers = []

        def call(_pending: Sequence[None]) -> Sequence[None]:
            answers.append(operation(TableName=self.name, **request))
            return ()

        self._retry([None], call)
        return answers[0]

    def _retry(self, entries: Sequence[Entry], call: Callable[[Sequence[Entry]], Sequence[Entry]]) -> None:
        """Call with all entries, then with those that `call` returns: they were throttled."""
        pending, fruitless = entries, 0
        while True:
            try:
                left = call(pending)
            except aws.errors() as error:
                if aws.code(error) not in THROTTLED_CALLS or fruitless == ATTEMPTS - 1:
                    raise
                left = pending
            if not left:
                return
            # A batch that makes progress is not given up: 100 large items take more than one answer.
            fruitless = fruitless + 1 if len(left) == len(pending) else 0
            if fruitless == ATTEMPTS:
                raise TableError(f"{self.name}: DynamoDB throttled {len(left)} entries at each of {ATTEMPTS} attempts")
            time.sleep(backoff(fruitless, PAUSE_SECONDS, MAXIMUM_PAUSE_SECONDS))
            pending = left


def _is_refusal(error: Exception) -> bool:
    return aws.code(error) == "ConditionalCheckFailedException"


def _where(key: Item, conditions: Sequence[Condition]) -> tuple[str, list[Typed]]:
    tests = [*((name, "=", value) for name, value in key.items()), *conditions]
    text = " AND ".join(f'"{name}"{operator}?' for name, operator, _ in tests)
    return f" WHERE {text}", [typed_value(value) for _, _, value in tests]


def _request(statement: Statement) -> dict[str, Any]:
    return {
        "Statement": statement.text,
        "Parameters": statement.parameters,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
