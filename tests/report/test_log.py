"""A log record is one line, safe on a terminal, without a secret."""

import asyncio
import json
import logging
import math
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bulkstop.redact import MASK, Redactor
from bulkstop.report.log import MOST_CHARS, JsonFormatter, TextFormatter

SECRET = "opaque-s3cr3t"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2VjcmV0LXNlY3JldC1zZWNyZXQ"
AT = 1767322805.75


def record(
    message: object,
    *args: object,
    level: int = logging.WARNING,
    name: str = "bulkstop",
    fields: dict[str, object] | None = None,
    error: BaseException | None = None,
) -> logging.LogRecord:
    """Make a record as a logger does."""
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord(name, level, __file__, 1, message, args, exc_info)
    made.created = AT
    if fields is not None:
        made.event, made.fields = message, fields
    return made


def text(*args: Any, **more: Any) -> str:
    """Write a record as text."""
    return TextFormatter(Redactor(SECRET)).format(record(*args, **more))


def parsed(*args: Any, **more: Any) -> dict[str, Any]:
    """Write a record as JSON and read it back."""
    line = JsonFormatter(Redactor(SECRET)).format(record(*args, **more))
    assert line.isprintable()
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def fail(text: str) -> None:
    """Raise an error."""
    raise ValueError(text)


def raised(text: str) -> Exception:
    """Raise an error and catch it, so that it has a traceback."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - any text
        fail(text)
    return caught.value


def test_an_event_as_text() -> None:
    """Time, level, event, then what belongs to it; what is unknown is left out."""
    fields = {
        "campaign_id": "cd-1",
        "http_status": 200,
        "latency_ms": 12.5,
        "error": None,
        "message": "Campaign Stopped",
    }
    assert text("attempt", level=logging.DEBUG, fields=fields) == (
        "2026-01-02T03:00:05.750Z DEBUG   attempt "
        'campaign_id=cd-1 http_status=200 latency_ms=12.5 message="Campaign Stopped"'
    )


def test_an_event_as_json() -> None:
    """The same with every key, even empty ones; numbers are numbers."""
    fields = {"campaign_id": "cd-1", "http_status": 200, "latency_ms": 12.5, "error": None, "is": True, "of": {"a": 1}}
    assert parsed("attempt", level=logging.INFO, fields=fields) == {
        "time": "2026-01-02T03:00:05.750Z",
        "level": "info",
        "event": "attempt",
        **fields,
    }


def test_a_message_in_words() -> None:
    """A library's message is written with its logger and its arguments."""
    assert text("took %.1f s", 2.5, name="asyncio") == "2026-01-02T03:00:05.750Z WARNING asyncio: took 2.5 s"
    found = parsed("took %.1f s", 2.5, name="asyncio")
    assert (found["event"], found["logger"], found["message"]) == ("message", "asyncio", "took 2.5 s")


def test_counts_as_text() -> None:
    """Counts in one field are short to read."""
    assert text("ended", fields={"outcomes": {"stopped": 3, "not_found": 1}}).endswith("outcomes=stopped:3,not_found:1")


def test_a_traceback_is_one_line() -> None:
    """An exception keeps its type, place and text; for a group, those of the first."""
    for error in (raised("no\nway"), ExceptionGroup("many", [raised("no\nway"), raised("other")])):
        assert re.search(r'error="ValueError at test_log\.py:\d+: no\\nway"$', text("failed", fields={}, error=error))
        found = parsed("Task exception was never retrieved\nfuture: <Task>", name="asyncio", error=error)
        assert found["message"] == "Task exception was never retrieved\nfuture: <Task>"
        assert re.fullmatch(r"ValueError at test_log\.py:\d+: no\nway", found["error"])
    assert text("x", fields={}, error=asyncio.CancelledError()).endswith("error=CancelledError")


class Odd:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError(SECRET)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args"),
    [("%d rows", ("many",)), ("%s %s", ("one",)), ("%s", (Odd(),)), (Odd(), ()), ("100 %", (1,)), (None, ())],
)
def test_a_record_that_is_wrong_is_written_all_the_same(message: object, args: tuple[object, ...]) -> None:
    """A slip in a record makes neither an error nor a traceback, and shows no secret."""
    for line in (text(message, *args), json.dumps(parsed(message, *args))):
        assert "2026-01-02T03:00:05.750Z" in line
        assert SECRET not in line


def test_any_value_can_be_written() -> None:
    """A value that JSON does not have is written as a text, or left out."""
    for value in (math.nan, math.inf, 10**5000, -(2**70), Odd(), b"\xff", {"a": Odd()}, [Odd()]):
        assert text("x", fields={"value": value}).isprintable()
        assert "value" in parsed("x", fields={"value": value})


def test_an_id_cannot_forge_a_field() -> None:
    """Values from ids or a server remain inside their quotes."""
    for forged in ('a" outcome=stopped', "a\\", "a outcome=stopped", "a\nb", "", "a=b", 'a\\" outcome=stopped'):
        line = text("attempt", fields={"campaign_id": forged, "http_status": 500})
        quoted = re.search(r'campaign_id=("(?:[^"\\]|\\.)*") http_status=500$', line)
        assert quoted is not None, line
        assert json.loads(quoted[1]) == forged


def test_a_long_text_is_cut() -> None:
    """A record stays readable, however much a server sends."""
    assert len(text("x", fields={"message": "m" * 100_000})) < MOST_CHARS + 100
    assert parsed("m" * 100_000)["message"] == "m" * MOST_CHARS + "..."


def test_a_cut_shows_no_half_of_a_secret() -> None:
    """A secret at the place of the cut is masked before it."""
    said = "m" * (MOST_CHARS - 5) + SECRET
    assert SECRET[:5] not in text(said)
    assert SECRET[:5] not in parsed(said)["message"]


@pytest.mark.parametrize("secret", [SECRET, TOKEN])
def test_a_secret_is_masked_wherever_it_stands(secret: str) -> None:
    """In the message, its arguments, a field, a list, a key or an exception, a secret is masked."""
    error = raised(f"bad header {secret}")
    cases: list[tuple[tuple[object, ...], dict[str, Any]]] = [
        ((f"auth {secret}",), {}),
        (("auth %s %r", secret, {"auth": secret}), {}),
        ((f"event {secret}",), {"fields": {"error": secret, "list": [secret], "map": {secret: secret}}}),
        (("failed",), {"fields": {}, "error": error}),
        (("failed",), {"error": error}),
        (("failed",), {"error": ExceptionGroup(secret, [error])}),
        (("failed",), {"name": f"redis.{secret}"}),
    ]
    for args, more in cases:
        for line in (text(*args, **more), json.dumps(parsed(*args, **more))):
            assert secret not in line
            assert MASK in line


ANY = st.text(max_size=20)
SECRETS = st.text(st.sampled_from("xyz\"'\\\n é\x1b\x85\u2028"), min_size=4, max_size=10)


@given(message=ANY, value=ANY, error=ANY)
@example(message="\x1b[2J\r\n\x9b31m", value="\u202e\u2028\x85", error="\ud800")
def test_any_text_is_one_line(message: str, value: str, error: str) -> None:
    """Any record is one line without control characters or escape sequences, and JSON restores it."""
    line = text(message, fields={"value": value}, error=raised(error))
    assert line.isprintable()
    assert text("%s", message, name="redis").isprintable()
    found = parsed(message, fields={"value": value}, error=raised(error))
    assert (found["event"] or "message", found["value"]) == (message or "message", value)
    assert found["error"].endswith(error)


@given(secret=SECRETS, before=ANY, after=ANY)
@example(secret="a\\nb", before="a\n", after="b")
@example(secret="\\x1b[", before="\x1b", after="[")
def test_no_secret_comes_out(secret: str, before: str, after: str) -> None:
    """A secret is in no line, neither plain nor escaped."""
    assume(len(secret.strip()) >= 4)
    said = f"{before}{secret}{after}"
    made = record(said, said, fields={"value": said, "list": [said]}, error=raised(said))
    line = TextFormatter(Redactor(secret)).format(made)
    assert secret not in line
    assert json.dumps(secret)[1:-1] not in line

    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [found for pair in value.items() for each in pair for found in texts(each)]
        return [found for each in value for found in texts(each)] if isinstance(value, list) else [str(value)]

    found = json.loads(JsonFormatter(Redactor(secret)).format(made))
    assert [each for each in texts(found) if secret in each] == []
