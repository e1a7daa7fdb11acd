"""Matching any text takes linear time: every pattern of the package is found and tested.

A pattern that backtracks blocks the only thread, and no signal ends it: one response would freeze a run.
"""

import ast
import gc
import importlib
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
import pytest

from bulkstop.kore.exchange import Response
from bulkstop.kore.interpret import interpret
from bulkstop.kore.redaction import redact_response
from bulkstop.model import Campaign, CampaignType
from bulkstop.redact import Redactor
from bulkstop.source.protect import Protection, Rule
from bulkstop.text import one_line
from bulkstop.text.cells import from_cell, to_cell
from bulkstop.text.likeness import fold

TOP = Path(__file__).resolve().parent.parent / "bulkstop"
PARSER = importlib.import_module("re._parser")
METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}
FLAGS_AT = {"compile": 1, "split": 3, "sub": 4}
MADE_OF_VALUES = {"kore/redaction.py", "redact.py", "runs/schedule/occasion.py", "source/protect.py"}
"""Modules whose patterns are made of what a user gives; their functions are tried in place of those."""

SHORT, LONG = 16 * 1024, 64 * 1024
MOST_TIMES = 6
TINY_S = 0.0015  # less than this is measured too roughly for a quotient
TOO_LONG_S = 0.05  # thirty times what a linear pattern takes for the short text
TRIES = 5
MOST_PICKS = 40
MOST_REPEATS = 40
CHARS = ("1a- ", "a1- ", " -1a")

AN_ID = "cd-5464b37-74ac-5607-8562-71c6a29234da"
CORPUS = [
    *("a", "1", " ", "-", "_", ".", ",", ":", "[", "{", "(", "<", "'", '"', "\\", "%", "#", "\r", "\t", "a1", "a b "),
    *("campaign ", "campaign is ", f"{AN_ID}, ", "not ", "already ", "rate limit ", "exceeded the per-minute "),
    *("eyJ", "a.b-", "'a", "<a", "a:", "it is not active, ", "{a", "[!", "A", "aB"),
]

# What this package once read answers with; eight ids in a message held the run for ever.
_SMALL_WORD = (
    r"(?:a|an|as|at|be|because|can|cannot|can.t|could|currently|has|id|in|instance|is|it|it.s|name|named|not|since"
    r"|state|status|stopped|that|the|was|which|with)\b"
)
_ID_OR_NAME = r"[\w-]{0,40}\d[\w-]{0,40}|'[^']{1,80}'|\"[^\"]{1,80}\""
_CAMPAIGN = rf"\bcampaign(?:[\s:,()]{{1,4}}(?:{_SMALL_WORD}|{_ID_OR_NAME})){{0,12}}?[\s:,()]{{1,4}}"
_NOT_RUNNING = (
    r"(?<!\bnot )\balready (?:been |in )?stopped\b"
    rf"|{_CAMPAIGN}(?:not|isn.t|no longer) (?:currently )?(?:in )?(?:an? )?(?:active|running)\b"
    rf"|{_CAMPAIGN}(?:is|was) inactive\b"
    r"|\bno (?:active|running) campaign\b(?=\W*$|[.;:,]|\s(?:exists?|for|found|instance|is|to|was|with)\b)"
)
FREEZES = [
    _NOT_RUNNING,
    r"(a+)+$",
    r"^(\w+\s?)*$",
    r"(a|aa)+b",
    r"\{.*?\}",
    r"\s+$",
    r"\[!?+\]?+[^\]]*+\]",
    r"[0-9a-f-]*[0-9][0-9a-f-]*$",
]


@dataclass(frozen=True)
class Found:
    """A pattern of the package, its place, and the methods that are called on it."""

    where: str
    pattern: "re.Pattern[Any]"
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}: {self.pattern.pattern!r}"


def patterns_of(path: Path) -> Iterator[Found | str]:
    """Find the patterns of a module, those inside functions too; of one made of values give the module alone."""
    where = path.relative_to(TOP).as_posix()
    name = "bulkstop." + where.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")
    tree = ast.parse(path.read_text())
    named = {id(node.value): ast.unparse(node.targets[0]) for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        function = call.func.attr
        if ast.unparse(call.func.value) != "re" or function not in {"compile", *METHODS}:
            continue
        try:
            place = FLAGS_AT.get(function, 2)
            flags = [key.value for key in call.keywords if key.arg == "flags"] or call.args[place : place + 1]
            pattern = re.compile(value_of(call.args[0], name), value_of(flags[0], name) if flags else 0)
        except NameError:
            yield where
            continue
        yield Found(f"{where}:{call.lineno}", pattern, methods_of(function, named.get(id(call)), calls))


def value_of(node: ast.expr, module: str) -> Any:
    """Return the value of an expression as its module sees it."""
    code = compile(ast.Expression(node), module, "eval")
    return eval(code, dict(vars(importlib.import_module(module))))


def methods_of(function: str, name: str | None, calls: Iterable[ast.Call]) -> tuple[str, ...]:
    """Return the methods called on a pattern; on one without a name of its own all that the module calls."""
    if function != "compile":
        return (function,)
    called = {(ast.unparse(call.func.value), call.func.attr) for call in calls if isinstance(call.func, ast.Attribute)}
    own = {method for owner, method in called if owner == name} & METHODS
    return tuple(sorted(own or {method for owner, method in called if owner != "re"} & METHODS))


def adversarial(pattern: "re.Pattern[Any]") -> Iterator[str]:
    """Yield beginnings and pieces, parted by a NUL, that a pattern might read in many ways when they are repeated."""
    nodes = PARSER.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    branches = max((len(arg[1]) for op, arg in walked(nodes) if str(op) == "BRANCH"), default=1)
    for pick in range(min(branches, MOST_PICKS)):
        for chars in CHARS:
            for most in (1, MOST_REPEATS):
                yield "\0" + sample(nodes, pick, chars, most)
                for before, node in repeats(nodes, "", pick, chars):
                    yield before + "\0" + sample(node, pick, chars, most)


def walked(nodes: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all nodes of a parsed pattern."""
    for op, arg in nodes:
        yield op, arg
        for inner in inside(op, arg):
            yield from walked(inner)


def inside(op: object, arg: Any) -> list[Any]:
    """List the sequences in a node."""
    match str(op):
        case "BRANCH":
            return list(arg[1])
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return [arg[2]]
        case "SUBPATTERN" | "ASSERT" | "ASSERT_NOT":
            return [arg[-1]]
        case "ATOMIC_GROUP":
            return [arg]
    return []


def repeats(nodes: Any, before: str, pick: int, chars: str) -> Iterator[tuple[str, Any]]:
    """Yield what may be repeated, whole and inside, with a text that leads there."""
    for op, arg in nodes:
        for inner in inside(op, arg):
            if "REPEAT" in str(op):
                yield before, [(op, arg)]
                yield before, inner
            yield from repeats(inner, before, pick, chars)
        before += sample([(op, arg)], pick, chars, 1)


def sample(nodes: Any, pick: int, chars: str, most: int) -> str:
    """Make a text that a sequence matches; of alternatives the pick-th, of characters the first that will do."""
    text = ""
    for op, arg in nodes:
        match str(op):
            case "LITERAL":
                text += chr(arg)
            case "NOT_LITERAL":
                text += next(char for char in chars if ord(char) != arg)
            case "ANY":
                text += chars[0]
            case "IN":
                text += next((char for char in chars if is_in(arg, char)), char_in(arg))
            case "BRANCH":
                text += sample(arg[1][pick % len(arg[1])], pick, chars, most)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                text += sample(arg[2], pick, chars, 1) * max(1, int(arg[0]), min(int(arg[1]), most))
            case "SUBPATTERN" | "ATOMIC_GROUP":
                text += sample(inside(op, arg)[0], pick, chars, most)
    return text


def is_in(items: Any, char: str) -> bool:
    """Return whether a class of characters has one."""
    code, found, negated = ord(char), False, False
    for op, arg in items:
        match str(op):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found |= code == arg
            case "RANGE":
                found |= arg[0] <= code <= arg[1]
            case "CATEGORY":
                kind = {"DIGIT": char.isdigit(), "SPACE": char.isspace(), "WORD": char.isalnum() or char == "_"}
                name = str(arg).removeprefix("CATEGORY_")
                found |= kind[name.removeprefix("NOT_")] is not name.startswith("NOT_")
    return found is not negated


def char_in(items: Any) -> str:
    """Return any character of a class that has none of the usual ones."""
    return next((char for char in map(chr, range(0x2100)) if is_in(items, char)), "")


class TooLongError(Exception):
    """The measured work takes more processor time than allowed."""


@contextmanager
def within(cpu_s: float) -> Iterator[None]:
    """Break off what takes more processor time; the machine may be as busy as it likes."""

    def end(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cpu_s(act: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    begin = time.thread_time()
    act()
    return time.thread_time() - begin


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage: a pass over all that a suite holds takes more processor time than what is measured here."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_slow(act: Callable[[str], object], text: str) -> bool:
    """Return whether a text four times as long takes over six times as long; `text` is a beginning, NUL, a piece.

    What is slow is so each time; a machine may be slow once.
    """
    return all(was_slow(act, text) for _ in range(TRIES))


@without_collection()
def was_slow(act: Callable[[str], object], text: str) -> bool:
    """Return whether it took so long this time."""
    start, _, piece = text.partition("\0")
    short, long = (start + piece * (size // len(piece)) + "\0" for size in (SHORT, LONG))
    try:
        with within(TOO_LONG_S):
            short_s = cpu_s(lambda: act(short))
        if short_s > TOO_LONG_S:
            return True
        long_s = cpu_s(lambda: act(long))
        for _ in range(TRIES):
            if long_s <= MOST_TIMES * max(short_s, TINY_S):
                return False
            short_s = min(short_s, cpu_s(lambda: act(short)))
            long_s = min(long_s, cpu_s(lambda: act(long)))
    except TooLongError:
        return True
    return long_s > MOST_TIMES * max(short_s, TINY_S)


def slow_texts(found: Found) -> list[str]:
    """Return the texts, one at most, of which a pattern takes longer than they are long."""
    texts = dict.fromkeys([*adversarial(found.pattern), *(f"\0{piece}" for piece in CORPUS)])
    for text in texts:
        if text.endswith("\0"):
            continue
        for method in found.methods:
            if is_slow(lambda each, method=method: use(found.pattern, method, each), text):  # type: ignore[misc]
                return [text]
    return []


def use(pattern: "re.Pattern[Any]", method: str, text: str) -> None:
    """Call a method of a pattern, and let it find all there is."""
    data = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
    if method == "sub":
        pattern.sub("" if isinstance(data, str) else b"", data)
    elif method == "finditer":
        list(pattern.finditer(data))
    else:
        getattr(pattern, method)(data)


PACKAGE = [found for path in sorted(TOP.rglob("*.py")) for found in patterns_of(path)]
PATTERNS = [found for found in PACKAGE if isinstance(found, Found)]


def test_every_pattern_is_found() -> None:
    """Patterns are found in tables, classes and functions; only the known modules make theirs of values."""
    assert {found for found in PACKAGE if isinstance(found, str)} == MADE_OF_VALUES
    named = {found.where.partition(":")[0] for found in PATTERNS}
    assert {
        "kore/claims.py",
        "kore/interpret.py",
        "kore/token.py",
        "simulator/calls.py",
        "settings/parse.py",
    } <= named
    assert all(found.methods for found in PATTERNS)


@pytest.mark.parametrize("found", PATTERNS, ids=str)
def test_linear(found: Found) -> None:
    """A text four times as long takes a pattern of the package at most six times as long, however it is made."""
    assert slow_texts(found) == []


@pytest.mark.parametrize("pattern", FREEZES)
def test_what_freezes_is_found(pattern: str) -> None:
    """Patterns that backtrack are caught: the one that froze a run, textbook ones, those that are quadratic."""
    assert slow_texts(Found("here", re.compile(pattern, re.IGNORECASE), ("search",)))


@pytest.mark.parametrize("pattern", [r"(?:a|b)*c$", r"\d{1,9}", r"[a-z]+(?: [a-z]+)*"])
def test_what_is_linear_is_let_be(pattern: str) -> None:
    """A sound pattern is not suspected."""
    assert not slow_texts(Found("here", re.compile(pattern), ("fullmatch", "match")))


RULES = [
    Rule("keep.txt", at, pattern, of_name)
    for at, pattern in enumerate(["*a*a*a*a*b", "*a?*a[ab]*a*c", "*" + "a" * 40 + "*b", "*[!a]*[!a]*1", "cd-*-*-*-*x"])
    for of_name in (False, True)
]
KEEP = Protection(RULES)
SECRETS = Redactor()
for secret in ("aaaa1", "a" * 40 + "b", "cd-5464b37-74ac!"):
    SECRETS.add(secret)


def campaign(text: str) -> Campaign:
    """Make a campaign that has a text for its id and its name."""
    return Campaign.of_row(text, CampaignType.VOICE, "a" * 24, "st-1", "st-1", "list.csv", 2, name=text)


def said(text: str) -> Response:
    """Make an answer that says a text in each of the ways that are read."""
    return Response(409, orjson.dumps({"message": text, "errors": [{"msg": text, "code": text}]}), 1.0)


@pytest.mark.parametrize(
    "act",
    [
        lambda text: KEEP.of(campaign(text)),
        lambda text: [fnmatchcase(text, rule.pattern) for rule in RULES],
        lambda text: SECRETS.redact(text),
        lambda text: interpret(said(text), campaign_id=AN_ID),
        lambda text: interpret(Response(409, text.encode(), 1.0), campaign_id=AN_ID),
        lambda text: interpret(Response(409, orjson.dumps({piece: piece for piece in text.split()}), 1.0)),
        lambda text: redact_response(said(text), ("aaaaaaaaaaaaaaab", "a\\b'c")),
        lambda text: one_line(text),
        lambda text: fold(text),
        lambda text: from_cell(to_cell(text)),
    ],
    ids=["protect", "fnmatch", "secrets", "meaning", "text", "object", "masks", "line", "fold", "cell"],
)
def test_functions_are_linear(act: Callable[[str], object]) -> None:
    """Functions that match names and responses with a user's patterns, or none, take linear time."""
    assert [piece for piece in CORPUS if is_slow(act, "\0" + piece)] == []
