"""Events to send, checked by the API's own code before anything is sent."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cli.console import sending
from cli.console.sending import Sending
from cli.core.http import Access, Answer
from cli.core.stack import Stack
from local.project import load_project
from local.recording import Graph, synthesise
from tests.graphs import SAMPLES

SENT: list[str] = []
# The graph of a stack with some options takes half a second.
GRAPHS: dict[str, Graph] = {}


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes the sending of a stack with other options. Requests are only noted."""
    monkeypatch.chdir(SAMPLES)
    SENT.clear()

    def send(_method: str, _url: str, body: str, **_: Any) -> Answer:
        SENT.append(body)
        return Answer(202, json.dumps({"id": "an-id", "status": "queued"}), {})

    monkeypatch.setattr(sending, "request", send)

    def made(stack: str = "ingestion", config: Mapping[str, Any] | None = None) -> Sending:
        found = Stack(stack)
        found.__dict__["project"] = load_project(SAMPLES, stack).with_config(config or {})
        found.__dict__["outputs"] = {"api_url": "http://127.0.0.1:1"}
        name = f"{stack} {config}"
        GRAPHS[name] = GRAPHS.get(name) or synthesise(SAMPLES, stack, config)
        return Sending(found, GRAPHS[name], Access())

    return made


def test_what_the_schema_refuses_is_not_sent(of: Any) -> None:
    form = of().checked('{"orderId": "a", "amount": -1}', "", send=True)
    assert form["problems"] == ["/amount must be bigger than 0"]
    assert SENT == []
    assert form["answer"] is None
    several = of().checked('[{"orderId": "a", "amount": 1}, {"amount": 1}]', "", send=True)
    assert several["problems"] == ["event 2: the event must contain ['orderId'] properties"]
    assert SENT == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the event is not JSON"),
        ("17", "an event is a JSON object"),
        ("", "the event is empty"),
        ("[]", "no events"),
    ],
)
def test_what_is_no_event_is_not_sent(of: Any, text: str, said: str) -> None:
    (problem,) = of().checked(text, "", send=True)["problems"]
    assert said in problem
    assert SENT == []


def test_a_valid_event_is_sent_as_it_was_written(of: Any) -> None:
    form = of().checked('{"orderId": "a", "amount": 1}', "", send=True)
    assert (form["problems"], form["ids"], form["answer"].status) == ([], ["an-id"], 202)
    assert [json.loads(each) for each in SENT] == [{"orderId": "a", "amount": 1}]


def test_a_check_says_what_will_differ_and_sends_nothing(of: Any) -> None:
    before = '{"orderId": "a", "amount": 1}'
    form = of().checked('{"orderId": "a", "amount": 2}', before, send=False)
    assert form["notes"] == [
        "It is a valid event of the type default.",
        "It has no idempotency key: it gets a new id and is processed as a new event.",
    ]
    assert any("amount" in line for line in form["difference"])
    assert SENT == []


def test_a_check_names_another_type(of: Any) -> None:
    view, purchase = (json.dumps({"event_type": name, "user_id": "u", "page": "p", "order_id": "o", "amount": 1})
                      for name in ("page_view", "purchase"))  # fmt: skip
    form = of("analytics").checked(view, purchase, send=False)
    assert form["notes"][:2] == ["It is a valid event of the type page_view.", "The type was purchase."]
    (problem,) = of("analytics").checked('{"event_type": "none"}', view, send=True)["problems"]
    assert "known: page_view, purchase" in problem


def test_a_check_tells_a_repeat_from_a_conflict(of: Any) -> None:
    def notes(text: str, before: str, **config: Any) -> str:
        return str(of("dev", config).checked(text, before, send=False)["notes"][1])

    keyed = '{"idempotency_key": "k", "n": 1}'
    assert "nothing is processed again" in notes(keyed, keyed)
    assert "refuses it" in notes('{"idempotency_key": "k", "n": 2}', keyed)
    assert "an id that follows from its idempotency key" in notes('{"idempotency_key": "l", "n": 1}', keyed)
    assert "a new id" in notes('{"n": 1}', keyed)
    by_content = {"api": {"deduplicate": "content"}}
    assert "the content of the original" in notes('{"n": 1}', '{"n": 1}', **by_content)
    assert "an id that follows from its content" in notes('{"n": 2}', '{"n": 1}', **by_content)


def test_an_event_is_sent_again_from_what_is_kept(of: Any) -> None:
    assert json.loads(of().again("i", {"orderId": "a"})["event"]) == {"orderId": "a"}
    assert of().again("i", None)["event"] == ""
    assert "orderId" in of().sample(None)["event"]
    assert of().sample("<unknown>")["types"] == [""]
