"""The list of files of a day, where the table changes while it is read."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from cli.csv_files import files_of

if TYPE_CHECKING:
    from handlers.shared.dynamodb import Table


class Changing:
    """A table in which the file `a` is done after the first query."""

    def query(self, *, values: dict[str, str], **_: Any) -> Iterator[list[dict[str, str]]]:
        match values["status"]:
            case "processing#":
                yield [{"id": "a", "status_time": "processing#08:00"}]
            case "succeeded#":
                yield [{"id": each, "status_time": f"succeeded#{at}"} for each, at in (("a", "09:00"), ("b", "07:00"))]
            case _:
                yield []

    def get(self, keys: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        assert len({key["id"] for key in keys}) == len(keys)
        return [*keys]


def test_a_file_that_is_done_between_two_queries_is_listed_once() -> None:
    found = files_of(cast("Table", Changing()), date(2026, 11, 20))
    assert [dict(each) for each in found] == [{"id": "a"}, {"id": "b"}]
