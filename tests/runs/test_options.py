"""The options of a run from Python are checked before anything is opened."""

from pathlib import Path
from typing import Any

import pytest

from bulkstop import Limit, Settings, stop
from bulkstop.errors import SettingsError
from bulkstop.runs.engine import Engine
from bulkstop.runs.options import check_options, read_expected, read_rate

SETTINGS = Settings(host="http://127.0.0.1:9", token="t")
WRONG: list[tuple[str, object, str]] = [
    ("output", Path(), r"\. is a folder; give the path of a file"),
    ("output", "", "is empty; give the path of a file"),
    ("output", 5, "is of type int and must be the path of a file"),
    ("output", b"r.jsonl", "is of type bytes and must be the path of a file"),
    ("output", "a\0b", "has a character that no file name can have"),
    ("resume", "yes", "is of type str and must be True or False"),
    ("overwrite", 1, "is of type int and must be True or False"),
    ("retry_failed", None, "is None and must be True or False"),
    ("retry", 5, "is of type int and must be the names of outcomes"),
    ("retry", [5], "is of type list and must be the names of outcomes"),
    ("retry", None, "is None and must be the names of outcomes"),
    ("retry", "nonsense", "'nonsense' is not an outcome"),
    ("format", "xml", "is 'xml' and must be one of csv, json, jsonl, txt, xlsx"),
    ("format", object(), "is of type object and must be one of csv, json, jsonl, txt, xlsx"),
    ("expect", "many", "'many' is neither a number nor a range such as 20..30"),
    ("expect", (3, 2), "3 to 2 is not a range"),
    ("expect", -1, "-1 to -1 is not a range"),
    ("expect", True, "is of type bool and must be a number or a pair of numbers"),
    ("expect", (1, 2, 3), "is of type tuple and must be a number or a pair of numbers"),
    ("expect", 2.5, "is of type float and must be a number or a pair of numbers"),
    ("on_result", "print", "is of type str and must be a function"),
    ("outptu", "r.jsonl", r"there is no such option; did you mean output\?"),
    ("zzz", 1, "there is no such option$"),
]


@pytest.mark.parametrize(("name", "value", "fault"), WRONG)
def test_wrong_option(name: str, value: object, fault: str) -> None:
    """A wrong option is a SettingsError that names it, and comes before anything is opened."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=f"^{name}: {fault}"):
        stop(["list.csv"], SETTINGS, **options)


HOOKS: list[tuple[str, object, str]] = [
    ("token", "a-token", "is of type str and must be a function"),
    ("around", 5, "is of type int and must be a function"),
    ("classify", [], "is of type list and must be a function"),
    ("transport", "wire", "is of type str and must be a Transport"),
    ("transport", object, "is of type type and must be a Transport"),
]


@pytest.mark.parametrize(("name", "value", "fault"), HOOKS)
def test_wrong_hook(name: str, value: object, fault: str) -> None:
    """An invalid hook is refused when the engine is made."""
    hooks: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=f"^{name}: {fault}"):
        Engine(SETTINGS, **hooks)


@pytest.mark.parametrize("settings", [None, "prod", {}, Settings])
def test_wrong_settings(settings: Any) -> None:
    """Invalid settings are refused by name."""
    with pytest.raises(SettingsError, match=r"^settings: is .* and must be Settings$"):
        Engine(settings)
    with pytest.raises(SettingsError, match=r"^settings: "):
        stop(["list.csv"], settings)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (20, (20, 20)), ("20", (20, 20)), ("20..30", (20, 30)), ((1, 5), (1, 5))]
)
def test_expected(value: object, expected: tuple[int, int] | None) -> None:
    """The number of campaigns is given as one number, a pair, or as the command line takes it."""
    assert read_expected(value) == expected


def test_right_options() -> None:
    """Options that make sense are taken."""
    check_options({"output": Path("r.jsonl"), "resume": True, "retry": ["timeout"], "format": "csv", "expect": "2..3"})


@pytest.mark.parametrize(
    ("value", "limit"), [(None, None), ("none", None), ("30/s", Limit(30, 1.0)), (Limit(1, 2.0),) * 2]
)
def test_rate(value: object, limit: Limit | None) -> None:
    """A rate is a limit, or the text for one."""
    assert read_rate(value) == limit


@pytest.mark.parametrize("value", [5, object(), ["30/s"], "fast", b"30/s"])
def test_no_rate(value: object) -> None:
    """An invalid rate is refused."""
    with pytest.raises(ValueError, match=r"is of type|is not a quota"):
        read_rate(value)
