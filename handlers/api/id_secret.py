"""The secret of the stack from which ids follow (docs/decisions/0011-ids-by-hmac.md).

It lives in the table whose ids it makes: it is as durable and as protected as these, and no configuration, log or
output holds it. The first request with a key creates it; each process reads it once.
"""

import secrets

from handlers.shared.dynamodb import Table, TableError

# No event has this id: theirs are UUIDs.
SECRET_ITEM = "secret#ids"  # noqa: S105  a name
SECRET_BYTES = 32

_known: dict[str, bytes] = {}


def id_secret(table_name: str) -> bytes:
    """Return the secret of the stack that has this table. Raises TableError and botocore's errors."""
    if table_name not in _known:
        _known[table_name] = _read_or_create(Table(table_name))
    return _known[table_name]


def know_id_secret(table_name: str, secret: bytes) -> None:
    """Set the secret in this process, for tests."""
    _known[table_name] = secret


def _read_or_create(table: Table) -> bytes:
    found = _read(table)
    if found is None:
        made = {"id": SECRET_ITEM, "secret": secrets.token_hex(SECRET_BYTES)}
        # Where another process was first, the statement is refused, and its secret counts.
        table.execute([table.insert_statement(made)])
        found = _read(table)
    if found is None:
        raise TableError(f"{table.name}: the item {SECRET_ITEM} went while it was created")
    return bytes.fromhex(found)


def _read(table: Table) -> str | None:
    items = table.get([{"id": SECRET_ITEM}], ["id", "secret"], consistent=True)
    return next((item["secret"] for item in items), None)
