"""Checks promises on generated responses, lists and names, and the processor time that one of them can take.

python benchmarks/fuzz.py                             # 100,000 cases of each kind
python benchmarks/fuzz.py --kind lists --first 4711 --cases 1     # a case once more
python benchmarks/fuzz.py --smoke                     # a short run that only shows that it works

Every case is made from its number alone, so that a failing one can be repeated.
"""

import argparse
import io
import json
import math
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bulkstop.errors import InputError
from bulkstop.kore.calls import find_page
from bulkstop.kore.exchange import Response
from bulkstop.kore.interpret import Page, interpret, read_disabled, read_page, read_status
from bulkstop.kore.redaction import redact_response
from bulkstop.model import Attempt, Campaign, CampaignType, Defaults, Outcome, Result, Scope, unsent_result
from bulkstop.report.stop.formats import from_csv, from_json, to_csv, to_json
from bulkstop.source import read
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection, parse_rule
from bulkstop.text import escape, one_line, printable, shorten
from bulkstop.text.cells import from_cell, is_kept, to_cell
from bulkstop.text.likeness import compile_pattern, fold

MOST_S = 0.25
"""Processor time in seconds that a case may take, because it blocks the event loop."""
LARGE_CASES = 100
"""One in this many cases is a large one."""
LARGE_CHARS = 10_000
LONG_NAME_CHARS = 2500

SCOPE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
OWN, OTHER = "cd-5464b37-74ac-5607-8562-71c6a29234da", "cd-5464b37-74ac-5607-8562-71c6a29234db"
DEFAULTS = (Defaults(), Defaults(CampaignType.VOICE, "a1", "st-1"))

_WORDS = [
    *("", "cd-1", "cd-2", "cid-1", OWN, OTHER, "a1", "st-1", "voice", "sms", "SMS ", "..", ".", "a/b", "null", "-0"),
    *("=1+1", "+49", "-10%", "@x", "\uff1d1", "a;=1", "a,-1", "'quoted'", '"', '""', "x,y", "x;y", "\t=", "'", "`"),
    *("\u202e", "\ufeff", "\u2028", "\x1b[2J", "\x9b31m", "\x7f", "\r", "\u200b", "\u00ad", "\U000e0041", "\\u202e"),
    *("\u00e9", "e\u0301", "\u00df", "\u0130", "\ufb01", "\ufdfa", "\uff32", "\u2019", "\u201e", "\u2013", "\u00a0"),
    *("\U0001f600", "\u0345", "\u0315\u0300", "\u1e9b\u0323", "%2F", "9" * 30, "Recall", "recall hotline", "\\"),
    *("Stopped", "STOPPED", "stopped", "Active", "success", "already stopped", "campaign is not active", "QUEUE_FULL"),
]
_CODES = (*range(0x250), *range(0x2000, 0x2070), *range(0xFF00, 0xFF60), 0x3000, 0x3042, 0x1F600, 0xE0001)
_CHARS = [chr(code) for code in _CODES]
_KEYS = [
    *("status", "message", "updatedAt", "campaignInstanceId", "errors", "error", "code", "msg", "retryAfterMs", "data"),
    *("results", "hasMore", "totalResults", "totalPages", "_id", "id", "name", "schedule", "isRecurrenceEnabled"),
]
_COLUMNS = ["campaign_id", "_id", "id", "type", "account_id", "stream_id", "iid", "priority", "name", "note"]
_STAINS = [b"", b'"', b"\0", b"\r", b"\n", b"\xff", b"\xef\xbb\xbf", b",", b"{"]
_NO_CLAIMS = [
    "Campaign {own} is not stopped",
    "Campaign {own} could not be stopped",
    "Campaign {own} has not been stopped yet",
    "Campaign {other} is already stopped",
    "The campaign {other} was stopped before",
    "Campaign {own} will be stopped",
    "If campaign {own} is already stopped, nothing happens",
    "Is campaign {own} already stopped?",
    "Campaign {own} must be stopped first",
    "Nobody knows whether campaign {own} is stopped",
    "Campaign {own} was never stopped",
    "Campaign {own} cannot be stopped because it is running",
]
"""Texts that mention a campaign at rest without proving it of this one."""


class Case(NamedTuple):
    """A kind of input: how a case is made, and how it is checked."""

    make: Callable[[random.Random, bool], object]
    check: Callable[..., object]


def make_text(rng: random.Random, *, is_large: bool = False) -> str:
    """Return a text of meaningful words and of arbitrary characters."""
    if is_large:
        piece = make_text(rng) or "x"
        return piece * (LARGE_CHARS // len(piece))
    pool = _WORDS if rng.random() < 0.6 else _CHARS
    text = "".join(rng.choices(pool, k=rng.randint(0, 6)))
    return text if rng.random() < 0.95 else text + chr(rng.choice((0xD800, 0xDFFF)))


def make_value(rng: random.Random, depth: int = 3) -> object:
    """Return a value that JSON can represent."""
    kind = rng.randrange(8 if depth else 5)
    if kind < 3:
        return make_text(rng)
    if kind == 3:
        return rng.choice([None, True, False, 0, -1, 2**70, 1.5, math.inf, math.nan])
    if kind == 4:
        return rng.randint(-10, 10**10)
    if kind == 5:
        return [make_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {rng.choice(_KEYS): make_value(rng, depth - 1) for _ in range(rng.randint(0, 5))}


def stain(rng: random.Random, data: bytes) -> bytes:
    """Cut, double or replace some bytes of some texts."""
    for _ in range(rng.choice((0, 0, 1, 3))):
        start = rng.randint(0, len(data))
        odd = rng.choice([data[start : start + 9] * 2, *_STAINS])
        data = data[:start] + odd + data[start + rng.randint(0, 9) :]
    return data


def write(text: str) -> bytes:
    """Encode a text, including lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


# --- answers --------------------------------------------------------------------------------------------------------


def make_answer(rng: random.Random, is_large: bool) -> tuple[Response, bool]:
    """Return a response, and whether it only mentions a campaign at rest without any proof."""
    status = rng.choice([200, 200, 200, 202, 204, 302, 400, 401, 404, 408, 409, 429, 500, 503, rng.randint(100, 999)])
    header = rng.choice([None, "1", "-1", "1e3", "9" * 11, "Wed, 21 Oct 2026 07:28:00 GMT", make_text(rng)])
    if is_claim := rng.random() < 0.3:
        message = rng.choice(_NO_CLAIMS).format(own=OWN, other=OTHER)
        body = {rng.choice(["message", "msg", "error"]): message, "code": rng.choice([1, "E1"])}
        return Response(
            rng.choice([400, 404, 409, 412, 500]), json.dumps(body).encode(), 1.0, header, None, None
        ), is_claim
    value = make_value(rng)
    if isinstance(value, dict) and rng.random() < 0.5:
        value |= {"status": rng.choice(["Stopped", "STOPPED", "success", "Active"])}
        rows = [{"_id": f"cd-{n}", rng.choice(_KEYS): make_value(rng, 1)} for n in range(rng.randint(0, 3))]
        value |= {"data": {"results": rows}} if rng.random() < 0.5 else {}
    if is_large:
        value = {"message": make_text(rng, is_large=True), "status": make_text(rng)}
    return Response(status, stain(rng, json.dumps(value).encode()), 1.0, header, header, header), False


def check_answer(case: tuple[Response, bool]) -> None:
    """Check that any response has a meaning, and that only proof is interpreted as success."""
    answer, is_no_claim = case
    clean = redact_response(answer, ())
    attempt = interpret(clean, campaign_id=OWN)
    assert attempt.outcome is not Outcome.STOPPED or says_stopped(answer), "a stop that was not proven"
    assert not is_no_claim or attempt.outcome is not Outcome.ALREADY_STOPPED, "a claim that was not made"
    check_attempt(attempt)
    page = read_page(clean, SCOPE, find_page(0))
    for reading in (page, read_status(clean, OWN), read_disabled(clean)):
        if isinstance(reading, Attempt):
            assert reading.outcome not in (Outcome.STOPPED, Outcome.ALREADY_STOPPED)
            check_attempt(reading)
    if isinstance(page, Page):
        assert len(page.items) + len(page.faults) == page.rows, "a row that is lost"
        assert all(map(str.isprintable, page.faults))


def says_stopped(answer: Response) -> bool:
    """Return whether a response is a 2xx and says "Stopped", in any letter case."""
    try:
        document = json.loads(answer.body.decode())
    except (ValueError, RecursionError):
        return False
    status = document.get("status") if isinstance(document, dict) else None
    return 200 <= answer.status < 300 and isinstance(status, str) and status.lower() == "stopped"


def check_attempt(attempt: Attempt) -> None:
    """Check that the meaning of a response can be shown and written."""
    texts = (attempt.message, attempt.updated_at, attempt.campaign_instance_id, attempt.campaign_execution_type)
    assert all(text is None or text.isprintable() for text in (*texts, attempt.error))
    assert attempt.retry_after_s is None or 0 <= attempt.retry_after_s < math.inf
    check_result(Result("cd-1", None, None, None, attempt.outcome, attempt.http_status, 1, None, *texts, attempt.error))


# --- lists ----------------------------------------------------------------------------------------------------------


def make_list(rng: random.Random, is_large: bool) -> tuple[str, bytes, Defaults]:
    """Return a list of any format, more or less valid."""
    form = rng.choice(["csv", "csv", "jsonl", "txt"])
    make = {"csv": make_csv, "jsonl": make_json_lines, "txt": make_ids}[form]
    data = make(rng, rng.randint(0, 5)) if not is_large else make(rng, 3) * rng.choice((1, 50))
    if is_large and rng.random() < 0.7:
        data += write(make_text(rng, is_large=True))
    mark = rng.choice([b"", b"", b"\xef\xbb\xbf"])
    return form, mark + stain(rng, data), rng.choice(DEFAULTS)


def make_csv(rng: random.Random, count: int) -> bytes:
    """Return a header and rows."""
    delimiter, end = rng.choice(",;\t|"), rng.choice(["\n", "\r\n", "\n\n"])
    header = ["campaign_id", *rng.sample(_COLUMNS[3:], rng.randint(0, 7))]
    rows = [
        [rng.choice(["1", "sms", "a1"]) if rng.random() < 0.6 else make_text(rng) for _ in header] for _ in range(count)
    ]
    for number, row in enumerate(rows):
        row[0] = f"cd-{number % 3}" if rng.random() < 0.8 else row[0]
        del row[rng.choice((len(row), len(row), len(row) - 1)) :]
    quote = rng.choice(["", '"'])
    return write(end.join(delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in [header, *rows]) + end)


def make_json_lines(rng: random.Random, count: int) -> bytes:
    """Return objects and other values, one a line."""
    rows = []
    for number in range(count):
        row = {rng.choice(_COLUMNS): make_value(rng, 2) for _ in range(rng.randint(0, 5))} | {
            "campaign_id": f"cd-{number}"
        }
        rows.append(json.dumps(row if rng.random() < 0.8 else make_value(rng)))
    return "\n".join(rows).encode() + b"\n"


def make_ids(rng: random.Random, count: int) -> bytes:
    """Return ids, one a line."""
    return write("\n".join(rng.choice((f"cd-{number % 3}", make_text(rng))) for number in range(count)) + "\n")


def check_list(case: tuple[str, bytes, Defaults]) -> None:
    """Check that a list is refused in one line, or each of its rows is sent or has a line with the reason."""
    form, data, defaults = case
    try:
        plan = Plan(read(["-"], defaults=defaults, fmt=form, stdin=io.BytesIO(data)))
    except InputError as error:
        check_message(str(error))
        return
    with plan:
        campaigns = [each for account in plan.accounts for each in plan.campaigns(account)]
        held = list(plan.held_results())
        assert len(campaigns) + len(held) == plan.rows, "rows that are lost, or made up"
        assert len(campaigns) == plan.to_send == len({each[:4] for each in campaigns}), "a campaign that is sent twice"
        assert all(each.fault is None for each in campaigns), "an id that cannot be sent"
        for result in (*held, *(unsent_result(each, Outcome.NOT_SENT, "later") for each in campaigns)):
            assert result.line
            assert result.error
            check_result(result)


def is_safe(text: str) -> bool:
    """Return whether a text in a file contains nothing that is unsafe on a terminal."""
    return text.isprintable() or all(map(is_kept, text))


def check_message(text: str) -> None:
    """Check that an error is one line."""
    assert "\n" not in text, "an error of several lines"


def check_result(result: Result) -> None:
    """Check that a result is one safe line of each format, and is read back unchanged."""
    as_json, as_csv = to_json(result), to_csv(result)
    for line in (as_json, as_csv):
        assert line.endswith(b"\n")
        assert is_safe(line[:-1].decode()), "a line with what does not print"
    for again in (from_json(as_json), from_csv(as_csv)):
        assert (again.campaign_id, again.outcome) == (result.campaign_id, result.outcome)
        assert (again.message or None, again.error) == (result.message or None, result.error)


# --- names ----------------------------------------------------------------------------------------------------------


def make_name(rng: random.Random, is_large: bool) -> str:
    """Return a name; a large one is longer than any that is kept, and some characters become eighteen others."""
    return make_text(rng, is_large=is_large)[:LONG_NAME_CHARS]


def check_name(name: str) -> None:
    """Check that a name is safe to show, is read back from files, and is protected by rules that look like it."""
    shown = (printable(name), printable(name, " "), escape(name), shorten(name), one_line(name) or "")
    assert all(map(str.isprintable, shown)), "shown as it is"
    once = fold(name)
    assert fold(once) == once, "not folded to the end"
    assert fold(f" {name}\u200b") == once, "folded otherwise with what does not show"
    cell = to_cell(name)
    assert from_cell(cell) == name, "another name out of a cell"
    assert is_safe(cell), "a cell with what does not print"
    if name.isprintable():
        check_result(Result("cd-1", None, None, None, Outcome.INVALID, message=name, row={name: name}))
    check_rules(name)


def check_rules(name: str) -> None:
    """Check that a name as a rule matches in any letter case, and so does a pattern with its beginning."""
    texts = [(name.upper(), name), (f"{name}x", f"{name}*")]
    for text, pattern in texts[: 1 + (len(name) % 4 == 0)]:  # patterns are slow
        try:
            rule = parse_rule("keep.txt", 1, f"name:{pattern}")
        except ValueError as error:
            check_message(str(error))
            continue
        if "[" not in name and fold(text) == fold(pattern.replace("*", "x")):
            campaign = Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "st-1", "l", 1, None, text)
            assert Protection([rule]).of(campaign), "a name that a rule misses"
            assert pattern == name or compile_pattern(pattern)(text)


# --------------------------------------------------------------------------------------------------------------------

KINDS = {
    "answers": Case(make_answer, check_answer),
    "lists": Case(make_list, check_list),
    "names": Case(make_name, check_name),
}


class SlowError(AssertionError):
    """A case took more processor time than the event loop may be blocked."""


def run_case(kind: str, number: int) -> float:
    """Return the processor time of a case; raise AssertionError for a broken promise."""
    case = KINDS[kind]
    made = case.make(random.Random(f"{kind} {number}"), number % LARGE_CASES == LARGE_CASES - 1)
    began = time.thread_time()
    case.check(made)
    if (taken := time.thread_time() - began) > MOST_S:
        raise SlowError(f"took {taken:.2f} s of processor time")
    return taken


def find_faults(kind: str, numbers: range) -> Iterator[tuple[float, str | None]]:
    """Yield the processor time and the fault of each case."""
    for number in numbers:
        try:
            yield run_case(kind, number), None
        except Exception as error:  # noqa: BLE001 - every error is a fault
            trace = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(trace.filename).name}:{trace.lineno}"
            yield 0.0, f"{kind} {number}: {type(error).__name__} at {where}: {escape(str(error))[:300]}"


def main() -> int:
    """Run the cases of each kind; print their numbers and faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a short run")
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=100_000, help="of each kind")
    args = parser.parse_args()
    faults = 0
    for kind in [args.kind] if args.kind else KINDS:
        began, slowest = time.perf_counter(), 0.0
        cases = range(args.first, args.first + (200 if args.smoke else args.cases))
        for taken, fault in find_faults(kind, cases):
            slowest = max(slowest, taken)
            if fault is not None:
                faults += 1
                print(fault, file=sys.stderr)
        rate = len(cases) / (time.perf_counter() - began)
        print(
            f"{kind}: {len(cases):,} cases, {rate:,.0f}/s; the slowest took {slowest * 1000:.0f} ms of processor time"
        )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
