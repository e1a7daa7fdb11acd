"""What a profile reaches: facts, and views of them."""

from dataclasses import asdict, dataclass
from typing import Any

from bulkstop.text import format_count, format_duration, format_table, printable

CLOCK_OFF_S = 5.0
"""A difference of the clocks that is worth a word: a `Date` header has whole seconds, and answers take time."""


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What would be read of the inputs: how many rows, the first ids, and the first reason why one cannot be used."""

    rows: int
    to_stop: int
    invalid: int
    held: int
    first_ids: tuple[str, ...]
    first_invalid: str | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """What was found by one page of a list; `fault` says what is in the way. None is what is not known."""

    host: str
    tls: str
    scope: str | None
    paths: tuple[str, ...]
    quota_store: str | None
    way: tuple[tuple[str, str], ...]
    is_renewable: bool | None = None
    expires_in_s: float | None = None
    is_listed: bool = False
    running: int | None = None
    has_more: bool = False
    clock_s: float | None = None
    read: InputFacts | None = None
    fault: str | None = None

    @property
    def exit_code(self) -> int:
        """0 when all was reached, and all rows can be used; else 1."""
        return 1 if self.fault or (self.read is not None and self.read.invalid) else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, every key always there."""
        return asdict(self) | {"way": dict(self.way), "exit_code": self.exit_code}


def format_check(of: CheckFacts) -> list[str]:
    """Write it for a person; the last line is the verdict."""
    rows = [("host", f"{of.host} ({of.tls})"), *of.way, *_format_token(of)]
    rows += [("scope", printable(of.scope))] if of.scope else []
    rows += [("stop path" if not number else "", path) for number, path in enumerate(of.paths)]
    rows += [("quota store", of.quota_store)] if of.quota_store else []
    if of.clock_s is not None:
        rows.append(("clock", _format_clock(of.clock_s)))
    if of.running is not None:
        more = " on the first page; there are more" if of.has_more else ""
        rows.append(("runs now", f"{of.running:,}{more}"))
    rows += _format_input(of.read) if of.read else []
    return [*format_table("Check", rows), _format_verdict(of)]


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
    return f"{format_duration(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} the service's"


def _format_input(read: InputFacts) -> list[tuple[str, str]]:
    rows = [
        (
            "input",
            (
                f"{format_count(read.rows, 'row')}: {read.to_stop:,} to "
                f"stop, {read.invalid:,} unusable, {read.held:,} held back"
            ),
        )
    ]
    rows += [("first ids", printable(", ".join(read.first_ids)))] if read.first_ids else []
    rows += [("carried", printable(", ".join(read.columns)))] if read.columns else []
    return [*rows, ("unusable", f"first: {read.first_invalid}")] if read.first_invalid else rows


def _format_verdict(of: CheckFacts) -> str:
    if of.fault:
        return f"NOT READY: {printable(of.fault)}"
    if of.read is not None and of.read.invalid:
        return f"NOT READY: {of.read.invalid:,} of {format_count(of.read.rows, 'row')} cannot be used"
    return "READY: the service was reached, took the token and gave its list"
