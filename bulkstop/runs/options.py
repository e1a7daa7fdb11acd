"""What can be given with a source, checked before anything is opened; which outcomes are sent again."""

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
"""What can be sent again, but no other try is likely to change; a row that is invalid can never be sent as it is."""


class RunOptions(TypedDict, total=False):
    """What can be given with a source; see `Engine.run`."""

    output: str | PathLike[str] | None
    overwrite: bool
    resume: bool
    retry: Iterable[str]
    retry_failed: bool
    trust_results: bool
    format: str | None
    expect: tuple[int, int] | int | str | None


def check_options(options: Mapping[str, object]) -> None:
    """Raise SettingsError, which names it, for an option that does not exist or has a value of another kind."""
    check_names(options, _READERS)
    for name, value in options.items():
        try:
            _READERS[name](value)
        except ValueError as error:
            raise SettingsError(f": {error}", setting=name) from None


def check_names(options: Iterable[str], known: Iterable[str]) -> None:
    """Raise SettingsError, with the nearest name, for an option that does not exist."""
    for name in options:
        if name not in (names := list(known)):
            raise SettingsError(f"{name}: there is no such option{suggest_near(name, names)}")


def read_output(value: object) -> str | None:
    """Return the path of a result file; raises ValueError for what can be none."""
    if value is None:
        return None
    path = fspath(value) if isinstance(value, str | PathLike) else value
    if not isinstance(path, str):
        raise ValueError(explain_kind(value, "the path of a file"))  # noqa: TRY004 - as the readers of texts do
    if not path.strip():
        raise ValueError("is empty; give the path of a file")
    if Path(parse_path(path)).is_dir():
        raise ValueError(f"{path} is a folder; give the path of a file")
    return path


def read_expected(value: object) -> tuple[int, int] | None:
    """Return the fewest and the most campaigns to stop: of `20`, `20..30` or a pair; raises ValueError."""
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
    """Read `N` or `A..B`: how many campaigns are to be sent."""
    match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", text.strip(), re.ASCII)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if low > high:
        raise ValueError(f"{text!r} is neither a number nor a range such as 20..30")
    return low, high


def read_rate(value: object) -> Limit | None:
    """Return a limit given as a value or as a text, None for no limit; raises ValueError."""
    if value is None or isinstance(value, Limit):
        return value
    if not isinstance(value, str):
        raise ValueError(explain_kind(value, "a Limit or a text, such as 30/m"))  # noqa: TRY004 - as above
    return parse_limit(value)


def outcomes_to_retry(names: Iterable[str], *, retry_failed: bool) -> frozenset[Outcome]:
    """Return the outcomes that are sent again, besides what has not ended; a text may name several, with commas.

    Raises SettingsError for a name that is not an outcome, and for one that is never sent again.
    """
    texts = [names] if isinstance(names, str) else names
    chosen = frozenset(_outcome(name.strip()) for text in texts for name in text.split(","))
    return chosen | WORTH_A_RETRY if retry_failed else chosen


def format_outcomes(outcomes: Iterable[Outcome], separator: str = ", ") -> str:
    """Write the names of outcomes in their usual order."""
    chosen = frozenset(outcomes)
    return separator.join(outcome.value for outcome in Outcome if outcome in chosen)


def format_outcome_counts(counts: Mapping[Outcome, int], outcomes: Iterable[Outcome]) -> str:
    """Write how many rows ended in each of these outcomes; empty when none did."""
    return ", ".join(f"{counts[each]:,} {each}" for each in Outcome if each in frozenset(outcomes) and counts.get(each))


def retry_option(outcomes: Iterable[Outcome]) -> str:
    """Write the option that sends what ended in one of these outcomes again."""
    return name_setting("retry", format_outcomes(outcomes, ","))


def options_to_go_on(outcomes: Mapping[Outcome, int]) -> list[str]:
    """Return the options that go on with a result file whose rows ended so: claims that nobody read back are open."""
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
    """Raise SettingsError for what is neither None nor can be called."""
    for name, value in functions.items():
        if value is not None and not callable(value):
            raise SettingsError(f": {explain_kind(value, 'a function')}", setting=name)


def check_kind(name: str, value: object, kind: str, *members: str) -> None:
    """Raise SettingsError for a value that lacks what its kind has."""
    if isinstance(value, type) or not all(hasattr(value, member) for member in members):
        raise SettingsError(f": {explain_kind(value, kind)}", setting=name)


def explain_kind(value: object, must_be: str) -> str:
    """Say of which kind a value is, and of which it must be."""
    kind = "None" if value is None else f"of type {type(value).__name__}"
    return f"is {kind} and must be {must_be}"


def _check_flag(value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(explain_kind(value, "True or False"))  # noqa: TRY004 - as the readers of texts do


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
