"""Checks the options of a run before anything is opened, and names the outcomes that are sent again."""

import re
from collections.abc import Callable, Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TypedDict

from bulkstop.errors import SettingsError
from bulkstop.model import DONE, FAILED, HELD_BACK, WORTH_A_RETRY, Limit, Outcome
from bulkstop.naming import name_setting
from bulkstop.settings.parse import parse_limit, parse_path
from bulkstop.source.forms.format import Format
from bulkstop.text.likeness import suggest_near

CAN_BE_RETRIED = frozenset(Outcome) - DONE - HELD_BACK - {Outcome.INVALID}
NEEDS_A_CHOICE = FAILED - WORTH_A_RETRY - {Outcome.INVALID}
"""Outcomes that can be sent again, but that another attempt hardly changes; an invalid row cannot be sent unchanged."""


class RunOptions(TypedDict, total=False):
    """The options of a run; see `Engine.run`."""

    output: str | PathLike[str] | None
    overwrite: bool
    resume: bool
    retry: Iterable[str]
    retry_failed: bool
    trust_results: bool
    format: str | None
    expect: tuple[int, int] | int | str | None


def check_options(options: Mapping[str, object]) -> None:
    """Raise SettingsError, which names the option, for one that is unknown or has a value of another type."""
    check_names(options, _READERS)
    for name, value in options.items():
        try:
            _READERS[name](value)
        except ValueError as error:
            raise SettingsError(f": {error}", setting=name) from None


def check_names(options: Iterable[str], known: Iterable[str]) -> None:
    """Raise SettingsError, with the nearest name, for an unknown option."""
    for name in options:
        if name not in (names := list(known)):
            raise SettingsError(f"{name}: there is no such option{suggest_near(name, names)}")


def read_output(value: object) -> str | None:
    """Return the path of a result file; raises ValueError for a value that cannot be one."""
    if value is None:
        return None
    path = fspath(value) if isinstance(value, str | PathLike) else value
    if not isinstance(path, str):
        raise ValueError(explain_kind(value, "the path of a file"))  # noqa: TRY004 - like the readers of texts
    if not path.strip():
        raise ValueError("is empty; give the path of a file")
    if Path(parse_path(path)).is_dir():
        raise ValueError(f"{path} is a folder; give the path of a file")
    return path


def read_expected(value: object) -> tuple[int, int] | None:
    """Return the fewest and the most campaigns to stop, from `20`, `20..30` or a pair; raises ValueError."""
    if isinstance(value, str):
        return parse_expected(value)
    bounds = (value, value) if isinstance(value, int) else value
    if bounds is None:
        return None
    if not (isinstance(bounds, tuple | list) and len(bounds) == 2 and all(type(each) is int for each in bounds)):
        raise ValueError(explain_kind(value, "a number or a pair of numbers, such as (20, 30)"))
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError(f"{bounds[0]} to {bounds[1]} is not a range")
    return bounds[0], bounds[1]


def parse_expected(text: str) -> tuple[int, int]:
    """Return the fewest and the most campaigns, from `N` or `A..B`."""
    match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text.strip(), re.ASCII)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if low > high:
        raise ValueError(f"{text!r} is neither a number nor a range such as 20..30")
    return low, high


def read_rate(value: object) -> Limit | None:
    """Return a limit from a Limit or a text, None for no limit; raises ValueError."""
    if value is None or isinstance(value, Limit):
        return value
    if not isinstance(value, str):
        raise ValueError(explain_kind(value, "a Limit or a text, such as 30/m"))  # noqa: TRY004 - as above
    return parse_limit(value)


def outcomes_to_retry(names: Iterable[str], *, retry_failed: bool) -> frozenset[Outcome]:
    """Return the outcomes that are sent again, besides rows that have not ended; a text may list several.

    Raises SettingsError for an unknown outcome, and for one that is never sent again.
    """
    texts = [names] if isinstance(names, str) else names
    chosen = frozenset(_outcome(name.strip()) for text in texts for name in text.split(","))
    return chosen | WORTH_A_RETRY if retry_failed else chosen


def format_outcomes(outcomes: Iterable[Outcome], separator: str = ", ") -> str:
    """Return the names of outcomes in their usual order."""
    chosen = frozenset(outcomes)
    return separator.join(outcome.value for outcome in Outcome if outcome in chosen)


def format_outcome_counts(counts: Mapping[Outcome, int], outcomes: Iterable[Outcome]) -> str:
    """Return how many rows ended in each of these outcomes; empty if none did."""
    return ", ".join(f"{counts[each]:,} {each}" for each in Outcome if each in frozenset(outcomes) and counts.get(each))


def retry_option(outcomes: Iterable[Outcome]) -> str:
    """Return the option that sends rows with these outcomes again."""
    return name_setting("retry", format_outcomes(outcomes, ","))


def options_to_go_on(outcomes: Mapping[Outcome, int]) -> list[str]:
    """Return the options that continue a file with rows of these outcomes; unverified claims count as open."""
    return ["--resume", *(["--retry", Outcome.UNCONFIRMED.value] if outcomes.get(Outcome.UNCONFIRMED) else [])]


def _outcome(name: str) -> Outcome:
    try:
        outcome = Outcome(name.lower())
    except ValueError:
        raise SettingsError(f": {name!r} is not an outcome{_nearest(name.lower())}", setting="retry") from None
    if outcome in CAN_BE_RETRIED:
        return outcome
    why = "is done and is never sent again" if outcome in DONE else "was left out on purpose and is never sent again"
    if outcome is Outcome.INVALID:
        why = "can never be sent; correct such rows in the list, and resume"
    others = format_outcomes(CAN_BE_RETRIED)
    raise SettingsError(f": what is {outcome} {why}; give {others}", setting="retry")


def _nearest(name: str) -> str:
    return suggest_near(name, CAN_BE_RETRIED) or f"; give {format_outcomes(CAN_BE_RETRIED)}"


def check_callable(**functions: object) -> None:
    """Raise SettingsError for a function that is neither None nor callable."""
    for name, value in functions.items():
        if value is not None and not callable(value):
            raise SettingsError(f": {explain_kind(value, 'a function')}", setting=name)


def check_kind(name: str, value: object, kind: str, *members: str) -> None:
    """Raise SettingsError for a value that lacks a member of its protocol."""
    if isinstance(value, type) or not all(hasattr(value, member) for member in members):
        raise SettingsError(f": {explain_kind(value, kind)}", setting=name)


def explain_kind(value: object, must_be: str) -> str:
    """Return a message with the type of a value and the one it must have."""
    kind = "None" if value is None else f"of type {type(value).__name__}"
    return f"is {kind} and must be {must_be}"


def _check_flag(value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(explain_kind(value, "True or False"))  # noqa: TRY004 - like the readers of texts


def _check_outcomes(value: object) -> None:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in names):
        raise ValueError(explain_kind(value, "the names of outcomes, such as ['not_found']"))


def _check_format(value: object) -> None:
    if value is not None and value not in list(Format):
        what = repr(value) if isinstance(value, str) else f"of type {type(value).__name__}"
        raise ValueError(f"is {what} and must be one of {', '.join(Format)}")


_READERS: Mapping[str, Callable[[object], object]] = {
    "output": read_output,
    "overwrite": _check_flag,
    "resume": _check_flag,
    "retry": _check_outcomes,
    "retry_failed": _check_flag,
    "trust_results": _check_flag,
    "format": _check_format,
    "expect": read_expected,
}
