"""DynamoDB tables in memory, which answer the calls of DynamoDB clients.

They understand the calls that handlers/shared/dynamodb.py and the tests make, and raise NotImplementedError for
everything else.
tests/emulator/test_tables_agree.py shows that the emulator answers the same.
"""

import operator
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from handlers.shared.dynamodb import plain, typed
from tests.aws_calls import tapped

Typed = dict[str, Any]
Item = dict[str, Typed]
# The values of a call, and the attribute names that stand for others.
Values = Mapping[str, Typed]
Names = Mapping[str, str]

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_insert = re.compile(r'INSERT INTO "([^"]+)" VALUE \{(.*)\}').fullmatch
_update = re.compile(r'UPDATE "([^"]+)" (SET .*?) WHERE (.*)').fullmatch
_delete = re.compile(r'DELETE FROM "([^"]+)" WHERE (.*)').fullmatch
_test = re.compile(r'"(\w+)"(<>|<=|>=|=|<|>)\?').fullmatch


class ConditionFailedError(Exception):
    """A condition does not hold."""


@dataclass
class MemoryTable:
    """Items by key, and the keys of indexes: `{"by-time": ("day_shard", "time_key")}`."""

    keys: tuple[str, ...]
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    items: dict[tuple[str, ...], Item] = field(default_factory=dict)

    def key(self, item: Item) -> tuple[str, ...]:
        return tuple(str(item[name]["S"]) for name in self.keys)


class MemoryDynamoDB:
    """DynamoDB with these tables. Each operation is a method, with botocore's names."""

    def __init__(self, **tables: MemoryTable) -> None:
        self.tables = tables
        # As in DynamoDB, each item of a batch is written on its own; here the whole call is.
        self._lock = threading.Lock()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer the calls of all DynamoDB clients while the block runs."""

        def call(name: str, parameters: Mapping[str, Any], make: Callable[[], Any]) -> Any:
            service, _, operation = name.partition(":")
            if service != "dynamodb":
                return make()
            try:
                with self._lock:
                    return getattr(self, xform_name(operation))(**parameters)
            except ConditionFailedError as error:
                answer: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}
                raise ClientError(answer, operation) from error

        with tapped(call):
            yield

    # Batches

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: N803  botocore's name
        ((name, wanted),) = RequestItems.items()
        table, keys = self.tables[name], [self.tables[name].key(key) for key in wanted["Keys"]]
        assert 0 < len(keys) <= 100
        assert len(set(keys)) == len(keys), "DynamoDB refuses a duplicate key"
        found = [table.items[key] for key in keys if key in table.items]
        if projection := wanted.get("ProjectionExpression"):
            names = [_name(each, wanted["ExpressionAttributeNames"]) for each in _listed(projection)]
            found = [{each: item[each] for each in names if each in item} for item in found]
        return {"Responses": {name: found}, "UnprocessedKeys": {}}

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: N803  botocore's name
        ((name, requests),) = RequestItems.items()
        assert 0 < len(requests) <= 25
        items = {self.tables[name].key(each["PutRequest"]["Item"]): each["PutRequest"]["Item"] for each in requests}
        assert len(items) == len(requests), "DynamoDB refuses a duplicate key"
        self.tables[name].items |= items
        return {"UnprocessedItems": {}}

    def batch_execute_statement(self, *, Statements: Sequence[Any]) -> Mapping[str, Any]:  # noqa: N803  botocore's name
        assert 0 < len(Statements) <= 25
        return {"Responses": [self._executed(each["Statement"], each["Parameters"]) for each in Statements]}

    def _executed(self, text: str, parameters: Sequence[Typed]) -> Mapping[str, Any]:
        given = iter(parameters)
        if match := _insert(text):
            table = self.tables[match[1]]
            item = {each.split(":")[0].strip().strip("'"): next(given) for each in match[2].split(",")}
            if not item.keys() >= set(table.keys):
                return _refused("ValidationError", None)
            if table.key(item) in table.items:
                return _refused("DuplicateItem", None)
            table.items[table.key(item)] = item
        elif match := _update(text):
            table = self.tables[match[1]]
            changes = {name: next(given) for name in re.findall(r'SET "(\w+)"=\?', match[2])}
            key, found, holds = _looked_up(table, match[3], given)
            if found is None or not holds:
                return _refused("ConditionalCheckFailed", found)
            gone = re.findall(r'REMOVE "(\w+)"', match[2])
            table.items[key] = {name: value for name, value in {**found, **changes}.items() if name not in gone}
        elif match := _delete(text):
            table = self.tables[match[1]]
            key, found, holds = _looked_up(table, match[2], given)
            if found is not None and not holds:
                return _refused("ConditionalCheckFailed", found)
            table.items.pop(key, None)
        else:
            raise NotImplementedError(text)
        return {}

    # Single items

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool) -> Mapping[str, Any]:  # noqa: N803  botocore's names
        assert ConsistentRead
        table = self.tables[TableName]
        found = table.items.get(table.key(Key))
        return {} if found is None else {"Item": found}

    def put_item(
        self,
        *,
        TableName: str,  # noqa: N803  botocore's name
        Item: Item,  # noqa: N803  botocore's name
        ConditionExpression: str,  # noqa: N803  botocore's name
        ExpressionAttributeValues: Values,  # noqa: N803  botocore's name
    ) -> None:
        table = self.tables[TableName]
        found = table.items.get(table.key(Item), {})
        if not _holds(ConditionExpression, found, ExpressionAttributeValues, {}):
            raise ConditionFailedError
        table.items[table.key(Item)] = Item

    def update_item(self, *, TableName: str, Key: Item, **request: Any) -> Mapping[str, Any]:  # noqa: N803  botocore's names
        table = self.tables[TableName]
        found = table.items.get(table.key(Key), {})
        values, names = request["ExpressionAttributeValues"], request.get("ExpressionAttributeNames", {})
        if "ConditionExpression" in request and not _holds(request["ConditionExpression"], found, values, names):
            raise ConditionFailedError
        changes, _, removed = request["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
        # Commas within parentheses belong to functions.
        assignments = [each.split(" = ", 1) for each in re.split(r", (?![^(]*\))", changes)]
        changed = {_name(name, names): _assigned(text, found, values, names) for name, text in assignments}
        gone = {_name(name, names) for name in _listed(removed)}
        item = {**Key, **{name: each for name, each in found.items() if name not in gone}, **changed}
        table.items[table.key(Key)] = item
        return {"Attributes": item}

    def delete_item(self, *, TableName: str, Key: Item) -> Mapping[str, Any]:  # noqa: N803  botocore's names
        table = self.tables[TableName]
        table.items.pop(table.key(Key), None)
        return {}

    def scan(self, *, TableName: str, **_request: Any) -> Mapping[str, Any]:  # noqa: N803  botocore's name
        return {"Items": list(self.tables[TableName].items.values())}

    # Queries

    def query(self, *, TableName: str, **request: Any) -> Mapping[str, Any]:  # noqa: N803  botocore's name
        table, values = self.tables[TableName], request["ExpressionAttributeValues"]
        names = request.get("ExpressionAttributeNames", {})
        keys = table.indexes[request["IndexName"]] if "IndexName" in request else table.keys
        every = [item for item in table.items.values() if all(name in item for name in keys)]
        every = [item for item in every if _holds(request["KeyConditionExpression"], item, values, names)]
        every.sort(key=lambda item: plain(item)[keys[-1]], reverse=not request.get("ScanIndexForward", True))
        if start := request.get("ExclusiveStartKey"):
            every = every[[table.key(item) for item in every].index(table.key(start)) + 1 :]
        page = every[: request.get("Limit", len(every))]
        condition = request.get("FilterExpression")
        shown = [item for item in page if condition is None or _holds(condition, item, values, {})]
        last = {"LastEvaluatedKey": page[-1]} if len(page) < len(every) else {}
        if projection := request.get("ProjectionExpression"):
            shown = [{name: item[name] for name in _listed(projection) if name in item} for item in shown]
        return {"Items": shown, **last}


def _listed(text: str) -> list[str]:
    return [each for each in text.split(", ") if each]


def _name(text: str, names: Names) -> str:
    return names[text] if text.startswith("#") else text


def _refused(code: str, item: Item | None) -> Mapping[str, Any]:
    return {"Error": {"Code": code, **({"Item": item} if item is not None else {})}}


def _looked_up(table: MemoryTable, where: str, parameters: Iterable[Typed]) -> tuple[Any, Item | None, bool]:
    """The key that a WHERE names, its item, and whether the other conditions hold."""
    tests = []
    for text, value in zip(where.split(" AND "), parameters, strict=True):
        match = _test(text)
        assert match, text
        tests.append((match[1], match[2], value))
    key = table.key({name: value for name, _, value in tests if name in table.keys})
    found = table.items.get(key)
    return key, found, found is not None and all(_compared(found.get(name), sign, value) for name, sign, value in tests)


def _compared(left: Typed | None, sign: str, right: Typed) -> bool:
    """An attribute that is missing, or of another type, is neither equal nor in an order."""
    if left is None or left.keys() != right.keys():
        return sign == "<>" and left is not None
    (one,), (other,) = plain({"": left}).values(), plain({"": right}).values()
    return COMPARISONS[sign](one, other)


def _assigned(text: str, item: Item, values: Values, names: Names) -> Typed:
    """`:value`, `if_not_exists(name, :value)`, or a sum of such."""
    if " + " in text:
        sides = [_assigned(side, item, values, names) for side in text.split(" + ")]
        return typed({"": sum(plain({"": side})[""] for side in sides)})[""]  # type: ignore[no-any-return]
    if match := re.fullmatch(r"if_not_exists\((\S+), (:\w+)\)", text):
        return item.get(_name(match[1], names), values[match[2]])
    return values[text]


def _holds(expression: str, item: Item, values: Values, names: Names) -> bool:
    """Conditions of our own kind: OR of AND of comparisons, BETWEEN, and functions of one attribute."""
    expression = expression.strip()
    if " OR " in expression:
        return any(_holds(each.strip().strip("()"), item, values, names) for each in expression.split(" OR "))
    if match := re.fullmatch(r"(.*?)(\S+) BETWEEN (:\w+) AND (:\w+)", expression):
        before, found = match[1].removesuffix(" AND "), item.get(match[2])
        within = _compared(found, ">=", values[match[3]]) and _compared(found, "<=", values[match[4]])
        return within and (not before or _holds(before, item, values, names))
    if " AND " in expression:
        return all(_holds(each, item, values, names) for each in expression.split(" AND "))
    # The parentheses around an alternative are gone, and with them one of a function's.
    if match := re.fullmatch(r"attribute_(not_)?exists\((\w+)\)?", expression):
        return (match[2] in item) != bool(match[1])
    if match := re.fullmatch(r"begins_with\((\w+), (:\w+)\)", expression):
        return str(item[match[1]]["S"]).startswith(values[match[2]]["S"])
    if match := re.fullmatch(r"(\S+) (\S+) (:\w+)", expression):
        return _compared(item.get(_name(match[1], names)), match[2], values[match[3]])
    raise NotImplementedError(expression)
