"""Any outside input is a value, or an error of one line: none ends in a traceback.

`BULKSTOP_FUZZ=10000 pytest tests/test_fuzz.py` tries that many cases of each; without it there are 120.
"""

import asyncio
import contextlib
import copy
import io
import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch
from urllib.parse import unquote_to_bytes

import click
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from bulkstop import model
from bulkstop.cli import COMMANDS, main
from bulkstop.cli.options import read_settings, with_settings
from bulkstop.cli.report import format_review
from bulkstop.errors import BulkstopError, InputError, OutputError, SettingsError
from bulkstop.kore import calls, interpret
from bulkstop.kore.aiohttp_transport import AiohttpTransport
from bulkstop.kore.calls import target
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.interpret import interpret as meaning
from bulkstop.kore.redaction import redact_response
from bulkstop.model import Attempt, Campaign, CampaignType, Defaults, Order, Outcome, Result, unsent_result
from bulkstop.report.stop.formats import COLUMNS, from_csv, from_json, to_csv, to_json
from bulkstop.report.stop.ledger import Mode
from bulkstop.report.stop.manifest import manifest_path
from bulkstop.report.stop.resume import ResumeIndex
from bulkstop.report.stop.stats import Stats
from bulkstop.report.stop.summary import StopSummary
from bulkstop.runs.review import review_results
from bulkstop.runs.stop.journal import RunJournal
from bulkstop.runs.stop.run import Prepared
from bulkstop.settings import GROUPS, NO_LIMIT, OPTION_SPECS, Settings, default_of, key_of
from bulkstop.source import read
from bulkstop.source.plan import Plan
from bulkstop.text import TEXT_CHARS
from tests.servers import Connection, listening

CASES = int(os.environ.get("BULKSTOP_FUZZ", "120"))
pytestmark = [pytest.mark.timeout(120 + CASES), pytest.mark.full]
fuzz = settings(max_examples=CASES, suppress_health_check=list(HealthCheck))

UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends of other sorts, halves of pairs, and what turns the direction of writing."""
WORDS = st.sampled_from(
    [
        *("", "cd-1", "cd-2", "cid-1", "a", "st-1", "voice", "sms", "SMS ", "..", ".", "a/b", "=1+1", '"', '""', "x,y"),
        *(
            "x;y",
            "\u202e",
            "\ufeff",
            "\u2028",
            "é",
            "\U0001f600",
            "%2F",
            "9" * 30,
            "1e9",
            "-0",
            "null",
            "\x1b[2J",
            "\r",
            "'",
        ),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ODD = st.sampled_from(
    [b'"', b"\0", b"\r", b"\n", b"\xff", b"\xef\xbb\xbf", b",", b"{", b"}", b"\x1f\x8b", b"\xff\xfe", b"'"]
)


def dump_json(value: object) -> bytes:
    """Write JSON as other programs do, NaN and half surrogate pairs included."""
    return json.dumps(value).encode()


@st.composite
def mutations(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Cut, double and stain some bytes."""
    data = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        start, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.sampled_from([b"", data[start : start + length] * 2]) | ODD | st.binary(max_size=4))
        data = data[:start] + piece + data[start + length :]
    return data


def is_one_line(text: str) -> bool:
    """Return whether a text is safe to show: one line, no escape sequences, no right-to-left override."""
    return bool(text) and not UNSHOWN.search(text)


def check_error(error: BulkstopError) -> None:
    """Make sure that an error is one line, fit to be shown."""
    assert is_one_line(str(error)), error


# --- rows -----------------------------------------------------------------------------------------------------------

NAMES = ["campaign_id", "campaignId", "_id", "id", "type", "account_id", "stream_id", "iid", "priority", "name", "note"]


@st.composite
def csv_texts(draw: st.DrawFn) -> bytes:
    """Write a header and rows, more or less as they should be."""
    delimiter, end = draw(st.sampled_from([",", ";", "\t", "|"])), draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r"]))
    header = ["campaign_id", *draw(st.permutations(NAMES[4:]))][: draw(st.integers(1, 9))]
    usual = {"type": "sms", "account_id": "a", "stream_id": "st-1", "priority": "1"}
    rows = [header]
    for number in range(draw(st.integers(0, 5))):
        row = [usual.get(name, f"cd-{number}") for name in header]
        for place in draw(st.lists(st.integers(0, len(row) - 1), max_size=2)):
            row[place] = draw(WORDS | st.text(max_size=8))
        rows.append(row[: draw(st.integers(len(row) - 1, len(row)))] + draw(st.sampled_from([[], [], [""]])))
    quoted = draw(st.booleans())
    lines = (delimiter.join(f'"{cell}"' if quoted else cell for cell in row) for row in rows)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + end.join(lines).encode(errors="surrogatepass")


def json_lines() -> st.SearchStrategy[bytes]:
    """Write objects with the names that mean something, and other values."""
    rows = st.dictionaries(st.sampled_from(NAMES) | WORDS, WORDS | st.integers() | JSON, max_size=8)
    return st.lists((rows | JSON | WORDS).map(dump_json), max_size=6).map(b"\n".join)


LISTS = {
    "csv": st.one_of(csv_texts(), mutations(csv_texts()), st.binary(max_size=80)),
    "jsonl": st.one_of(mutations(json_lines()), st.binary(max_size=80)),
    "txt": st.one_of(
        mutations(st.lists(WORDS | st.text(), max_size=8).map(lambda ids: "\n".join(ids).encode(errors="replace"))),
        st.binary(max_size=80),
    ),
}
DEFAULTS = st.sampled_from([Defaults(), Defaults(CampaignType.VOICE, "a", "st-1", None)])


@pytest.mark.parametrize("form", LISTS)
@fuzz
@given(data=st.data(), defaults=DEFAULTS, order=st.sampled_from(Order))
def test_rows(form: str, data: st.DataObject, defaults: Defaults, order: Order) -> None:
    """A list is refused in one line, or each row is a campaign that can be sent, or a line that says why not."""
    stdin = io.BytesIO(data.draw(LISTS[form]))
    try:
        plan = Plan(read(["-"], defaults=defaults, fmt=form, stdin=stdin), order=order)
    except InputError as error:
        check_error(error)
        return
    with plan:
        event(f"sends {bool(plan.to_send)}, holds {bool(plan.held)}")
        campaigns = [each for account in plan.accounts for each in plan.campaigns(account)]
        results = [*plan.held_results(), *(unsent_result(each, Outcome.NOT_SENT, "later") for each in campaigns)]
        assert len(results) == plan.rows
        assert len(campaigns) == plan.to_send == len({each[:4] for each in campaigns})
        assert all(result.line and result.source == "-" for result in results)
        for campaign in campaigns:
            assert campaign.fault is None
        for result in results:
            check_line(result)


def check_line(result: Result) -> None:
    """Make sure that a result is one line of each form, and is read back as what it was."""
    as_json, as_csv = to_json(result), to_csv(result)
    assert as_json.count(b"\n") == as_csv.count(b"\n") == 1
    assert as_json.endswith(b"\n")
    again = from_json(as_json)
    assert (again.campaign_id, again.outcome, again.error) == (result.campaign_id, result.outcome, result.error)
    assert from_csv(as_csv).outcome is result.outcome
    assert list(json.loads(as_json)) == list(COLUMNS)
    assert result.error is None or is_one_line(result.error)


# --- ids ------------------------------------------------------------------------------------------------------------


@fuzz
@given(
    campaign_id=WORDS | st.text() | st.text(st.characters(max_codepoint=0x2F)),
    account_id=st.text(min_size=1) | st.just("a"),
    stream_id=st.text(min_size=1) | st.just("st-1"),
    kind=st.sampled_from(CampaignType),
)
@example("a" * 1025, "a", "st-1", CampaignType.VOICE)
@example("a/../b", "a", "st-1", CampaignType.SMS)
@example("..", "a", "st-1", CampaignType.SMS)
def test_ids(campaign_id: str, account_id: str, stream_id: str, kind: CampaignType) -> None:
    """An id is one segment of the path, byte for byte, or the row is invalid."""
    campaign = Campaign.of_row(campaign_id, kind, account_id, stream_id, "st-1", "list.csv", 1)
    if campaign.fault is not None:
        assert is_one_line(campaign.fault)
        return
    usual = target(campaign._replace(campaign_id="cd-1", account_id="a", stream_id="st-1"))
    sent = AiohttpTransport("http://127.0.0.1:1")._url(target(campaign)).raw_path_qs
    path, _, query = sent.partition("?")
    segments, places = path.split("/"), usual.partition("?")[0].split("/")
    assert len(segments) == len(places)
    for segment, place in zip(segments, places, strict=True):
        filled = {"cd-1": campaign_id, "st-1": stream_id}.get(place, place)
        assert unquote_to_bytes(segment) == filled.encode()
        assert segment not in (".", "..")
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    values = [part.partition("=")[2] for part in query.split("&")]
    assert unquote_to_bytes(values[0]) == account_id.encode()
    assert values[1:] == [kind.value, "stop"]


# --- answers --------------------------------------------------------------------------------------------------------

KEYS = [
    *(
        "status",
        "message",
        "updatedAt",
        "campaignInstanceId",
        "campaignExecutionType",
        "errors",
        "error",
        "code",
        "msg",
    ),
    *("retryAfterMs", "data", "results", "hasMore", "totalResults", "totalPages", "_id", "id", "name", "schedule"),
    *("isSchedulingEnabled", "isRecurrenceEnabled", "priority", "skip", "limit"),
]
TEXTS = WORDS | st.sampled_from(
    [
        *(
            "Stopped",
            "STOPPED",
            "success",
            "Success",
            "failure",
            "Campaign Stopped",
            "Active",
            "campaign is not active",
        ),
        *("You've exceeded the per-minute rate limit.", "RATE_LIMIT_EXCEEDED", "already stopped", "x" * 400, "cd-7\n"),
    ]
)
SAYS = st.recursive(
    TEXTS | st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=16,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), SAYS, max_size=7)
STOPS = OBJECTS.flatmap(lambda body: st.sampled_from(["Stopped", "STOPPED"]).map(lambda word: body | {"status": word}))
ROWS_OF_A_PAGE = OBJECTS.map(lambda row: {"_id": "cd-1", **row}) | OBJECTS | SAYS
PAGES = st.lists(ROWS_OF_A_PAGE, max_size=4).flatmap(
    lambda rows: OBJECTS.map(lambda body: {**body, "status": "success", "data": {**body, "results": rows}})
)
WHOLE = (OBJECTS | STOPS | STOPS | PAGES | PAGES | SAYS).map(dump_json)
BODIES = st.one_of(WHOLE, mutations(WHOLE), st.binary(max_size=60))
HEADERS = (
    st.none()
    | st.text(max_size=30)
    | st.sampled_from(
        ["1", "-1", "99999999999", "1e3", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 99999 07:28:00 +9999", "\u0661"]
    )
)
STATUSES = st.sampled_from([200, 200, 200, 202, 204, 302, 400, 401, 404, 408, 409, 412, 429, 500, 503])
ANSWERS = st.builds(Response, STATUSES | st.integers(100, 999), BODIES, st.floats(0, 1e5), HEADERS, HEADERS, HEADERS)
GROUP = model.Scope("a", "st-1", "st-1", CampaignType.VOICE)


def proves_a_stop(answer: Response) -> bool:
    """Tell by other means than the code under test whether an answer is 2xx and says "Stopped"."""
    try:
        document = json.loads(answer.body.decode())
    except (ValueError, RecursionError):
        return False
    status = str(document.get("status")) if isinstance(document, dict) else ""
    return 200 <= answer.status < 300 and status.lower() == "stopped"


def check_attempt(attempt: Attempt) -> None:
    """Make sure that what an answer means can be shown and written."""
    texts = (attempt.message, attempt.updated_at, attempt.campaign_instance_id, attempt.campaign_execution_type)
    assert all(text is None or (is_one_line(text) and len(text) <= TEXT_CHARS) for text in texts), texts
    assert attempt.error is None or is_one_line(attempt.error)
    assert attempt.retry_after_s is None or 0 <= attempt.retry_after_s < math.inf
    check_line(Result("cd-1", None, None, None, attempt.outcome, attempt.http_status, 1, None, *texts, attempt.error))


@fuzz
@given(answer=ANSWERS, secret=st.sampled_from([(), ("a secret",), ("Stopped",)]))
def test_answers(answer: Response, secret: tuple[str, ...]) -> None:
    """Any answer to any call means something, and a campaign is stopped only when the answer proves it."""
    clean = redact_response(answer, secret)
    attempt = meaning(clean)
    event(attempt.outcome)
    assert attempt.outcome is not Outcome.STOPPED or proves_a_stop(answer)
    check_attempt(attempt)
    if not secret and not proves_nothing(answer):
        assert (attempt.outcome is Outcome.STOPPED) is proves_a_stop(answer)
    at = calls.find_page(0)
    read_all = (
        interpret.read_page(clean, GROUP, at),
        interpret.read_status(clean, "cd-1"),
        interpret.read_disabled(clean),
    )
    for reading in read_all:
        if isinstance(reading, Attempt):
            assert reading.outcome is not Outcome.STOPPED
            check_attempt(reading)
        elif isinstance(reading, interpret.Page):
            event(f"a page with campaigns: {bool(reading.items)}")
            assert len(reading.items) + len(reading.faults) == reading.rows
            assert all(is_one_line(fault) for fault in reading.faults)
            ids = [item.campaign_id for item in reading.items]
            assert all(Campaign.of_row(each, GROUP.campaign_type, *GROUP[:3], "", 0).fault is None for each in ids)


def proves_nothing(answer: Response) -> bool:
    """Tell of a body that JSON readers do not agree about: NaN, half surrogate pairs, one name twice."""
    return any(part in answer.body for part in (b"NaN", b"Infinity", b"\\u")) or answer.body.count(b'"status"') > 1


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """Hold one event loop open for all cases."""
    with asyncio.Runner() as runner:
        yield runner


HEADS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 \r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n"),
        *(b"HTTP/1.1 307 X\r\nLocation: //h\r\n", b"HTTP/1.1 -1 x\r\n", b"HTTP/9.9 200\r\n", b"\r\n"),
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n",
    ]
)
FIELDS = st.sampled_from(
    [
        *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"),
        *(b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n", b"Content-Encoding: br\r\n"),
        *(b"Content-Type: \xff\r\n", b"Retry-After: x\r\n", b"Connection: close\r\n", b"Set-Cookie: a=b\r\n"),
        *(b": \r\n", b"x" * 9000 + b": 1\r\n", b"\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ]
)
WIRE = st.one_of(
    mutations(
        st.builds(lambda head, fields, body: head + b"".join(fields) + b"\r\n" + body, HEADS, st.lists(FIELDS), BODIES)
    ),
    st.binary(max_size=60),
)


@pytest.mark.real
@fuzz
@given(data=WIRE)
def test_wire(runner: asyncio.Runner, data: bytes) -> None:
    """For any bytes on a connection, there is a response or the reason why there is none, in time."""
    answer = runner.run(exchange(data))
    if isinstance(answer, TransportFailure):
        assert answer.outcome in (Outcome.CONNECTION_ERROR, Outcome.TIMEOUT)
        assert is_one_line(answer.error)
    check_attempt(meaning(answer))


async def exchange(data: bytes) -> Response | TransportFailure:
    """Make a call to a server that says this and closes."""

    async def handle(connection: Connection) -> None:
        await connection.request()
        await connection.write(data)

    async with listening(handle) as server, AiohttpTransport(server.url, timeout_s=5.0) as client:
        return await client.post("/trigger/cd-1?a=b", {"auth": "t"})


# --- result files ---------------------------------------------------------------------------------------------------

ROWS = [
    Campaign.of_row(f"cd-{n}", CampaignType.VOICE, "ab"[n % 2], "st-1", "st-1", "list.csv", n + 2) for n in range(6)
]
AT = Settings(host="http://127.0.0.1:1", token="t" * 20, quota=NO_LIMIT)
ENDS = st.sampled_from([outcome for outcome in Outcome if outcome is not Outcome.INVALID])


@dataclass(frozen=True)
class Left:
    """The files that an interrupted run has left."""

    name: str
    ledger: bytes
    manifest: Any


@pytest.fixture(scope="module", params=["results.jsonl", "results.csv"])
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Begin a run and end it after four of six campaigns."""
    path = tmp_path_factory.mktemp("left") / request.param
    with (
        contextlib.suppress(ZeroDivisionError),
        RunJournal(str(path)) as record,
        record.plan(ROWS, AT) as plan,
    ):
        record.open(plan, AT, ["bulkstop", "stop"], "run-1")
        for row, outcome in zip(
            ROWS, [Outcome.STOPPED, Outcome.TIMEOUT, Outcome.NOT_SENT, Outcome.UNKNOWN], strict=False
        ):
            record.write([result_of(row, outcome, "run-1")])
        raise ZeroDivisionError
    return Left(request.param, path.read_bytes(), json.loads(Path(manifest_path(str(path))).read_text()))


def result_of(row: Campaign, outcome: Outcome, run_id: str | None = None) -> Result:
    """Make the line of a row that ends so."""
    when = None if outcome is Outcome.NOT_SENT else "2026-01-02T03:04:05.678Z"
    result = unsent_result(row, outcome, "said")
    return replace(result, started_at=when, finished_at=when, attempts=1, run_id=run_id)


@st.composite
def changes(draw: st.DrawFn, whole: Any) -> Any:
    """Put another value in the place of a few of a JSON document, or take them out."""
    whole = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 3))):
        at, key = whole, "runs"
        while isinstance(at, dict | list) and at and draw(st.integers(0, 5)):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = draw(st.sampled_from(keys))
            if not isinstance(at[key], dict | list) or not at[key]:
                break
            parent, at = at, at[key]
            if not draw(st.integers(0, 3)):
                at = parent
                break
        if (isinstance(at, dict) and key in at) or (isinstance(at, list) and isinstance(key, int) and key < len(at)):
            if draw(st.booleans()):
                at[key] = draw(JSON | st.integers(-1, 2**70) | st.text(max_size=5))
            else:
                del at[key]
    return whole


def folders(base: Path) -> Callable[[], contextlib.AbstractContextManager[Path]]:
    """Return a way to a new folder for each case, gone after it."""

    @contextlib.contextmanager
    def folder() -> Iterator[Path]:
        made = Path(tempfile.mkdtemp(dir=base))
        try:
            yield made
        finally:
            shutil.rmtree(made)

    return folder


def check_files(path: Path) -> None:
    """Sum a result file up, check it and go on with it: each is refused in one line, or every row has its line then."""
    for check in (False, True):
        with contextlib.suppress(OutputError):
            review = review_results(str(path), check=check)
            assert sum(review.outcomes.values()) == review.rows <= review.lines or check
            assert all(is_one_line(line) for line in format_review(review))
    for trust in (False, True):
        try:
            past = ResumeIndex(str(path))
            assert past.final <= past.rows <= past.lines
            go_on(path, trust=trust)
        except BulkstopError as error:
            event(type(error).__name__)
            check_error(error)
        else:
            event("gone on with, on trust" if trust else "gone on with")
            return


def go_on(path: Path, *, trust: bool) -> None:
    """Resume a run to its end."""
    stats = Stats()

    def write(result: Result) -> None:
        record.write([result])
        stats.add(result)

    with RunJournal(str(path), mode=Mode.RESUME, trust=trust) as record, record.plan(ROWS, AT) as plan:
        record.open(plan, AT, ["bulkstop", "stop"], "run-2")
        for result in plan.held_results():
            write(replace(result, run_id="run-2"))
        for account in plan.accounts:
            for row in plan.campaigns(account):
                write(result_of(row, Outcome.STOPPED, "run-2"))
        summary = StopSummary(stats, plan.rows, 0, 0.0, "run-2", settled=dict(plan.settled))
        assert record.end(summary).fault is None
    past = ResumeIndex(str(path))
    assert past.rows == past.final == len(ROWS)
    flaws = review_results(str(path), check=True).flaws
    assert not flaws or (trust and len(flaws) == 1 and " taken on trust by " in flaws[0])


@pytest.fixture
def lax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for a disk: no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.mark.usefixtures("lax")
@fuzz
@given(data=st.data())
def test_result_files(left: Left, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A result file with any bytes is refused with the line, or continued to its end."""
    ledger = data.draw(
        mutations(st.just(left.ledger)) | st.just(left.ledger[: data.draw(st.integers(0, 2000))]) | st.binary()
    )
    with folders(tmp_path_factory.getbasetemp())() as folder:
        (folder / left.name).write_bytes(ledger)
        if data.draw(st.booleans()):
            Path(manifest_path(str(folder / left.name))).write_text(json.dumps(left.manifest))
        check_files(folder / left.name)


@pytest.mark.usefixtures("lax")
@fuzz
@given(data=st.data())
def test_results_of_any_kind(left: Left, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Lines that are well formed but say anything are counted, or refused."""
    text = st.none() | WORDS | st.text(max_size=8)
    rows = st.sampled_from(ROWS).flatmap(lambda row: ENDS.map(lambda outcome: result_of(row, outcome)))
    some = st.builds(
        Result,
        text.map(lambda value: value or ""),
        st.none() | st.sampled_from(CampaignType),
        text,
        text,
        st.sampled_from(Outcome),
        error=text,
        source=text,
        line=st.none() | st.integers(-(2**70), 2**70) | st.integers(0, 9),
        started_at=text,
        finished_at=text,
        latency_ms=st.none() | st.floats(),
        row=st.none() | st.dictionaries(st.text(max_size=3), JSON, max_size=2),
    )
    write = to_csv if left.name.endswith(".csv") else to_json
    lines = data.draw(st.lists(rows | some, max_size=8))
    head = left.ledger.splitlines(keepends=True)[0] if write is to_csv else b""
    with folders(tmp_path_factory.getbasetemp())() as folder:
        (folder / left.name).write_bytes(head + b"".join(map(write, lines)))
        check_files(folder / left.name)


@pytest.mark.usefixtures("lax")
@fuzz
@given(data=st.data())
def test_manifests(left: Left, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any manifest is refused, or the run continues with it."""
    documents = (
        changes(left.manifest).map(dump_json)
        | mutations(st.just(dump_json(left.manifest)))
        | JSON.map(dump_json)
        | st.binary()
    )
    with folders(tmp_path_factory.getbasetemp())() as folder:
        (folder / left.name).write_bytes(left.ledger)
        Path(manifest_path(str(folder / left.name))).write_bytes(data.draw(documents))
        check_files(folder / left.name)


# --- profiles -------------------------------------------------------------------------------------------------------

PLAUSIBLE = [
    *(
        "list.csv",
        "ids.txt",
        "keep.txt",
        "type=Channel",
        "cp1252",
        "odd_ids",
        "token",
        "new.jsonl",
        "new.csv",
        "-",
        "voice",
        "sms",
        "1",
        "2",
        "0",
        "5%",
        "60/60s",
    ),
    *(
        "none",
        "memory",
        "h",
        "http://h",
        "https://127.0.0.1:1",
        "1,10%,100%",
        "10s",
        "even",
        "priority",
        "prod",
        "debug",
    ),
    *("1..5", "2..2", "23:59", "UTC", "HS256", "Active", "cs-1", "/v/{campaignId}", "/l/{streamId}", "v1", "true", "3"),
    *("wire", "aiohttp", "9/s", "1..9/s", "1,9/s", "9/s:1s", "p99<9ms"),
]


def good(name: str) -> list[str]:
    """Return the texts that a setting takes."""
    texts = []
    for text in PLAUSIBLE:
        with contextlib.suppress(ValueError):
            OPTION_SPECS[name].read(text)
            texts.append(text)
    return ["true", "false"] if isinstance(default_of(name), bool) else texts


GOOD = {key_of(name): good(name) for name in OPTION_SPECS}
ODD_TOML = [
    *("true", "false", "1", "-1", "0.5", "1e400", "nan", "inf", "1979-05-27", "07:32:00", "[]", "{}", "['x']", "[[1]]"),
    *("0x1F", "['1/s', 'none']", "['60/60s', '1800/3600s']", "''", "'\\u0000'", '"\\u202e"', "=", "#"),
]
LINES = st.one_of(
    st.sampled_from(list(GOOD)).flatmap(
        lambda key: st.sampled_from(GOOD[key]).map(
            lambda text: f"{key} = {text if text in 'truefalse' else json.dumps(text)}"
        )
    ),
    st.builds(
        "{} = {}".format, st.sampled_from([*GOOD, "tokn", "x y", '""']), st.sampled_from(ODD_TOML) | st.text(max_size=8)
    ),
)


@click.command()
@with_settings(*GROUPS)
@click.pass_context
def probe(ctx: click.Context, /, **_: object) -> Settings:
    """Return the settings as any command gets them."""
    return read_settings(ctx)


@fuzz
@given(lines=st.lists(LINES, max_size=3), data=st.data())
def test_profiles(tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: st.DataObject) -> None:
    """A profile is refused in one line, or gives settings that can be used."""
    text = "\n".join(["[profile.default]", *lines]).encode(errors="replace")
    whole = data.draw(st.sampled_from([text] * 3) | mutations(st.just(text)) | st.binary(max_size=40))
    with folders(tmp_path_factory.getbasetemp())() as folder:
        (folder / "bulkstop.toml").write_bytes(whole)
        words = [
            "--config",
            str(folder / "bulkstop.toml"),
            *data.draw(st.sampled_from([[], ["--host", "h"], ["--host", "h"]])),
        ]
        try:
            values = probe.main(words, standalone_mode=False)
        except (SettingsError, click.UsageError) as error:
            message = error.format_message() if isinstance(error, click.UsageError) else str(error)
            assert is_one_line(message), message
        else:
            event("settings")
            assert isinstance(values, Settings)
            assert values.host.startswith(("http://", "https://"))
            assert values.timeout_s > 0


# --- command lines --------------------------------------------------------------------------------------------------

FILES = {
    "list.csv": b"campaign_id,type,account_id,stream_id\ncd-1,voice,a,st-1\ncd-2,sms,b,st-1\n..,voice,a,st-1\n",
    "list.jsonl": b'{"id":"cd-1","type":"voice","account_id":"a","stream_id":"st-1"}\n"cd-2"\n',
    "ids.txt": b"cd-1\ncd-2\n",
    "empty.csv": b"campaign_id\n",
    "keep.txt": b"cd-2\n",
    "bulkstop.toml": b"[profile.prod]\nhost = 'h'\naccount_id = 'a'\nstream_id = 'st-1'\ntype = 'voice'\n",
    "token": b"t" * 20,
    "results.jsonl": b"".join(to_json(result_of(row, outcome)) for row, outcome in zip(ROWS, Outcome, strict=False)),
}
SAFE = st.text(st.sampled_from("abcd0123456789-=,.:;%{}[]()*?!#+ \u00e9\u202e\x1b\n"), max_size=6).filter(
    lambda text: text not in ("..", ".")
)
VALUES = st.sampled_from(PLAUSIBLE) | SAFE
UNSAFE = {"--token-command", "--quota-store"}
"""Options whose values are run, or lead into a network; they have only plausible values here."""


SERVES = "serve"
"""A command of a group that waits for ever."""


def options_of(command: click.Command) -> list[click.Option]:
    """Return all options of a command."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def commands_of(command: click.Command) -> list[str]:
    """Return the names of the commands of a group, none of what is no group."""
    names = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    return [name for name in names if name != SERVES]


def main_command(name: str) -> click.Command:
    """Return a command by its name."""
    from bulkstop.cli import commands

    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    return command


MOSTLY = st.integers(0, 9).map(lambda number: number < 9)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Write a command with options, more or less as it should be."""
    name = draw(st.sampled_from([*COMMANDS, "stop", "stop", "stop"]) if draw(MOSTLY) else SAFE)
    if name not in COMMANDS:
        return [name, *draw(st.lists(VALUES | st.sampled_from(["--help", "--version"]), max_size=2))]
    words, command = [name], main_command(name)
    if names := commands_of(command):
        words.append(draw(st.sampled_from(names)))
        inner = command.get_command(click.Context(command), words[-1]) if isinstance(command, click.Group) else None
        assert inner is not None
        command = inner
    if name in ("stop", "report", "verify") and draw(MOSTLY):
        usual = ["list.csv", "list.csv", "list.jsonl"] if name == "stop" else ["results.jsonl", "results.jsonl"]
        words += draw(st.lists(st.sampled_from([*usual, "ids.txt", "-", "empty.csv", "gone"]), min_size=1, max_size=2))
    if name == "load" and draw(MOSTLY):
        words += draw(st.sampled_from([[], ["list.csv"], ["-", "--format", "txt"]]))
        words += draw(st.sampled_from([["--rate", "9/s"], ["--closed"], ["--ramp", "1..9/s"], ["--find-limit"]]))
        words += draw(st.sampled_from([["--count", "3"], ["--duration", "1s"]]))
    if name in ("stop", "discover", "verify", "load") and draw(MOSTLY):
        words += ["--host", "127.0.0.1:1", "--account-id", "a", "--stream-id", "st-1"]
    if name == "stop" and draw(MOSTLY):
        words += draw(st.sampled_from([["--yes"], ["--expect", "1..5", "--type", "sms"], ["--dry-run", "--json"]]))
    for parameter in draw(st.lists(st.sampled_from(options_of(command)), max_size=3)):
        option = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
        takes = not parameter.is_flag and not parameter.count
        words.append(option if draw(MOSTLY) else draw(SAFE))
        if option in UNSAFE:
            words.append(draw(st.sampled_from(["memory", "true", "quota.sqlite"])))
        elif takes is bool(draw(MOSTLY)):
            words.append(draw(st.sampled_from(GOOD.get(option[2:].replace("-", "_"), PLAUSIBLE)) | VALUES))
    return words


VARIABLES = st.dictionaries(
    st.sampled_from(
        [f"BULKSTOP_{key_of(name).upper()}" for name in OPTION_SPECS if OPTION_SPECS[name].option(name) not in UNSAFE]
    ),
    VALUES.map(lambda text: text.replace("\0", "")),
    max_size=2,
)


class NotSent:
    """An engine whose runs send nothing, and whose rows all have their line."""

    def __init__(self, settings: Settings) -> None:
        self.prepare: Callable[[str], AbstractAsyncContextManager[Prepared]]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def count_before(self, accounts: object) -> None:
        """Count nothing, as nothing is sent."""

    def call_for(self, others: object) -> None:
        """Do nothing."""

    def make_notices(self, run_id: str, **_: object) -> None:
        """Return no notices."""

    def prepare_run(self, prepare: Callable[[str], AbstractAsyncContextManager[Prepared]], **_: object) -> Self:
        """Be the run, too."""
        self.prepare = prepare
        return self

    async def execute(self, **_: object) -> StopSummary:
        """Report every row."""
        stats = Stats()
        async with self.prepare("run-1") as prepared:
            plan = prepared.plan
            later = (
                unsent_result(row, Outcome.NOT_SENT, "later")
                for account in plan.accounts
                for row in plan.campaigns(account)
            )
            for result in (*plan.held_results(), *later):
                prepared.report([result])
                stats.add(result)
            signum = signal.SIGINT if plan.to_send else None
            settled = dict(plan.settled)
            return prepared.end(StopSummary(stats, plan.rows, 0, 0.1, "run-1", signum=signum, settled=settled))


class Nobody:
    """Stands for what would call a service, or be one."""

    def __init__(self, *_: object, **__: object) -> None:
        raise OutputError("nobody is there")


@pytest.fixture
def quiet_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let no command reach a network, run a command or wait for anything."""
    for name in [name for name in os.environ if name.startswith("BULKSTOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in COMMANDS:
        main_command(name)
    monkeypatch.setattr("bulkstop.runs.engine.Engine", NotSent)
    monkeypatch.setattr("bulkstop.kore.aiohttp_transport.AiohttpTransport.__aenter__", Nobody)
    monkeypatch.setattr("bulkstop.kore.wire.transport.WireTransport.__aenter__", Nobody)
    monkeypatch.setattr("bulkstop.runs.load.processes.run", Nobody)  # it would fork
    monkeypatch.setattr("bulkstop.kore.token._Command", Nobody)
    monkeypatch.setattr("bulkstop.cli.simulate.serve", Nobody)
    return tmp_path


@pytest.mark.real
@fuzz
@given(words=command_lines(), variables=VARIABLES, stdin=st.sampled_from([b"", b"cd-1\n", FILES["list.csv"]]))
def test_command_lines(quiet_world: Path, words: list[str], variables: dict[str, str], stdin: bytes) -> None:
    """Any command line ends with a documented exit code, and its output is plain text in complete lines."""
    with folders(quiet_world)() as folder, contextlib.chdir(folder):
        for name, data in FILES.items():
            Path(name).write_bytes(data)
        code, err = run_in_process(words, variables | {"BULKSTOP_TOKEN": "t" * 20}, stdin)
    event(f"exit code {code}")
    assert code in (0, 1, 2, 3, 4, 130), err
    assert "Traceback" not in err
    assert "internal error" not in err
    assert all(line.isprintable() for line in err.split("\n")), err
    if code == 2:
        assert err.strip()


def run_in_process(words: list[str], variables: dict[str, str], stdin: bytes) -> tuple[object, str]:
    """Run a command line in this process; return its exit code and what it said."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    streams: dict[str, Any] = {"stdin": io.TextIOWrapper(io.BytesIO(stdin), "utf-8"), "stdout": out, "stderr": err}
    here = patch.multiple(sys, **streams, argv=["bulkstop", *words])
    with patch.dict(os.environ, variables), here, pytest.raises(SystemExit) as end:
        main()
    err.flush()
    err.seek(0)
    return end.value.code, err.read()
