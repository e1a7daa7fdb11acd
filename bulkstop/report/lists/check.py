"""What a profile can reach: facts, and views of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bulkstop.report.stop.reading import ReadingFacts, describe_form, format_reading
from bulkstop.report.store import StoreFacts, format_store, store_to_json
from bulkstop.text import format_count, format_duration, format_table, printable

CLOCK_OFF_S = 5.0
"""A smaller difference of the clocks is not reported: a `Date` header has whole seconds, and calls take time."""


@dataclass(frozen=True, slots=True)
class InputFacts:
    """The facts about the inputs: how many rows, the first ids, and the first reason why one is unusable."""

    rows: int
    to_stop: int
    invalid: int
    held: int
    first_ids: tuple[str, ...]
    first_invalid: str | None
    forms: tuple[ReadingFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeFacts:
    """The facts from one page of a list: how many campaigns run, or why it could not be read."""

    name: str
    running: int | None = None
    has_more: bool = False
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """The facts from one page of each list; `fault` is the first problem. None means unknown."""

    host: str
    tls: str
    paths: tuple[str, ...]
    quota_store: StoreFacts | None
    way: tuple[tuple[str, str], ...]
    is_renewable: bool | None = None
    expires_in_s: float | None = None
    scopes: tuple[ScopeFacts, ...] = ()
    more_scopes: int = 0
    clock_s: float | None = None
    read: InputFacts | None = None
    fault: str | None = None
    more_faults: tuple[str, ...] = ()
    """The other problems."""
    api: str = "v2"
    """The API version whose documented paths are used, except for paths that are set."""
    answering: str | None = None
    """The other version, if that is the one that responds."""
    more_paths: Mapping[str, str | None] = field(default_factory=dict)
    """The paths of the other calls by name; None if no path is documented."""
    answers: Mapping[str, str] | None = None
    """Whether the calls respond that were tried with a campaign; None without a campaign."""
    warnings: tuple[str, ...] = ()
    """Warnings about the input for a person."""
    is_unread: bool = False
    """Whether the input could not be read, so that nothing was requested."""

    @property
    def is_listed(self) -> bool:
        """Whether every requested list could be read."""
        return bool(self.scopes) and not any(scope.fault for scope in self.scopes)

    @property
    def exit_code(self) -> int:
        """0 if all is reachable and `stop` would start and use all rows; 2 if the input was not read; else 1."""
        if self.is_unread:
            return 2
        return 1 if self.fault or (self.read is not None and self.read.invalid) else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; every key is always present."""
        more = {"way": dict(self.way), "is_listed": self.is_listed, "exit_code": self.exit_code}
        return asdict(self) | store_to_json(self.quota_store) | more


def format_check(of: CheckFacts) -> list[str]:
    """Return it as lines for a person; the last line is the verdict."""
    rows = [("host", f"{of.host} ({of.tls})"), *of.way, *_format_token(of)]
    rows += [("stop path" if not number else "", path) for number, path in enumerate(of.paths)]
    rows += [(f"{name} path", _format_path(of, name, path)) for name, path in of.more_paths.items()]
    rows += [("quota store", format_store(of.quota_store))] if of.quota_store else []
    if of.clock_s is not None:
        rows.append(("clock", _format_clock(of.clock_s)))
    rows += [("scope" if not number else "", _format_scope(scope)) for number, scope in enumerate(of.scopes)]
    if of.more_scopes:
        were = "was" if of.more_scopes == 1 else "were"
        rows.append(("", f"{of.more_scopes:,} more in the list, which {were} not read"))
    rows += _format_input(of.read) if of.read else []
    rows += [("warning", printable(each)) for each in of.warnings]
    rows += [("also" if not number else "", printable(each)) for number, each in enumerate(of.more_faults)]
    return [*format_table("Check", rows), format_verdict(of)]


def _format_path(of: CheckFacts, name: str, path: str | None) -> str:
    """Return the path of a call, and whether it responds."""
    if path is None:
        return f"{of.api} documents none"
    if name == "list":
        tried = f"{of.api} answers" if of.is_listed else f"{of.answering} answers, not this" if of.answering else ""
    elif name in ("status", "get") and of.is_listed:
        tried = (of.answers or {}).get(name, "not tried, because no campaign runs")
    else:
        tried = ""
    return printable(f"{path}: {tried}" if tried else path)


def _format_scope(scope: ScopeFacts) -> str:
    if scope.running is None:
        return printable(f"{scope.name}: {scope.fault or 'not read after that'}")
    count = f"{scope.running:,} run{'s' * (scope.running == 1)} now" if scope.running else "none runs now"
    return printable(f"{scope.name}: {count}{' on the first page; there are more' if scope.has_more else ''}")


def _format_token(of: CheckFacts) -> list[tuple[str, str]]:
    if of.is_renewable is None:
        return []
    left = "does not say when it expires"
    if of.expires_in_s is not None:
        left = f"expires in {format_duration(max(0.0, of.expires_in_s))}"
    return [("token", f"{left}; {'renewed when needed' if of.is_renewable else 'cannot be renewed'}")]


def _format_clock(seconds: float) -> str:
    if abs(seconds) < CLOCK_OFF_S:
        return "as the service's"
    way = "ahead of" if seconds > 0 else "behind"
    return (
        f"{format_duration(abs(seconds))} {way} the service's: correct it, because tokens and --finish-by depend on it"
    )


def _format_input(read: InputFacts) -> list[tuple[str, str]]:
    count = format_count(read.rows, "row")
    rest = f"{read.invalid:,} invalid, {read.held:,} protected or duplicate"
    rows = [("input", f"{count}: {read.to_stop:,} to stop, {rest}")]
    rows += [("first ids", printable(", ".join(read.first_ids)))] if read.first_ids else []
    rows += [("read as" if not number else "", _format_form(form)) for number, form in enumerate(read.forms)]
    return [*rows, ("unusable", f"first: {read.first_invalid}")] if read.first_invalid else rows


def _format_form(of: ReadingFacts) -> str:
    """Return which columns mean what; one with another name is shown with both names."""
    used = [name if name == field else f"{field} from {name!r}" for field, name in of.columns.items()]
    carried = f"; carried along: {', '.join(of.carried)}" if of.carried else ""
    more = (format_reading(of) or "").partition(": ")[2]
    return printable(
        f"{of.name}: {describe_form(of)}, {', '.join(used) or 'one id a line'}{carried}{more and f'; {more}'}"
    )


def format_verdict(of: CheckFacts) -> str:
    """Return one line: whether all is ready, and if not, what is wrong."""
    if of.fault:
        return f"NOT READY: {printable(of.fault)}"
    if of.read is not None and of.read.invalid:
        return f"NOT READY: {of.read.invalid:,} of {format_count(of.read.rows, 'row')} cannot be used"
    return "READY: the service was reached, took the token and gave its lists"
