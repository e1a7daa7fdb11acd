"""One grammar for every option: times, rates and quotas have the same form in all places.

The options are read from the commands, so that a new one is tested as well.
"""

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest

from bulkstop.cli import COMMANDS, commands
from bulkstop.model import Limit
from bulkstop.settings import OPTION_SPECS, Settings, default_of, key_of
from bulkstop.settings.load import variable_of
from tests.settings import BESIDE

TIMES = {"100ms": 0.1, "30": 30.0, "45s": 45.0, "5m": 300.0, "5min": 300.0, "2h": 7200.0, "1.5 h": 5400.0}
LIMITS = {"30/min": (30, 60.0), "30/m": (30, 60.0), "60/60s": (60, 60.0), "5/100ms": (5, 0.1), "9/2h": (9, 7200.0)}
FINISH_BY = "finish_by"
"""It is a time of day; a relative time has the usual form after a plus."""
NO_TIME = {FINISH_BY, "until"}


def params() -> Iterator[tuple[str, click.Option]]:
    """Yield each option of each command."""
    with click.Context(commands) as ctx:
        for name in COMMANDS:
            command = commands.get_command(ctx, name)
            assert command is not None
            yield from ((name, param) for param in command.params if isinstance(param, click.Option))


def is_time(param: click.Option) -> bool:
    """Return whether an option is a time, by a unit in its name or in its page."""
    name = param.name or ""
    return name not in NO_TIME and (name.endswith(("_s", "_ms")) or param.metavar in ("TIME", "SECONDS", "MS"))


def is_rate(param: click.Option) -> bool:
    """Return whether an option is a rate or a quota."""
    return (param.metavar or "").startswith(("RATE", "N/TIME", "A..B/s", "A,B"))


EVERY = [pytest.param(param, id=f"{name} {param.opts[-1]}") for name, param in params()]
TIME_OPTIONS = [each for each in EVERY if is_time(each.values[0])]  # type: ignore[arg-type]
RATE_OPTIONS = [each for each in EVERY if is_rate(each.values[0])]  # type: ignore[arg-type]
TIME_SETTINGS = [name for name in OPTION_SPECS if name.endswith("_s")]
QUOTA_SETTINGS = [name for name, spec in OPTION_SPECS.items() if spec.metavar == "N/TIME"]


def test_what_is_looked_at() -> None:
    """The known times and rates are among the tested options."""
    names = {each.values[0].name for each in TIME_OPTIONS}  # type: ignore[union-attr]
    assert names >= {
        "timeout_s",
        "grace_s",
        "soak_s",
        "step_s",
        "length_s",
        "max_late_s",
        "retry_after_s",
        "latency_ms",
    }
    rates = {each.values[0].name for each in RATE_OPTIONS}  # type: ignore[union-attr]
    assert rates == {"quota", "rate", "ramp", "steps", "spike", "max_rate", "contacts"}
    assert names >= set(TIME_SETTINGS)


@pytest.mark.parametrize("param", EVERY)
def test_no_bare_number(param: click.Option) -> None:
    """No option parses a fractional number by itself, except one without a unit."""
    assert param.type is not click.FLOAT or param.name == "latency_sigma"


@pytest.mark.parametrize("param", TIME_OPTIONS)
def test_times(param: click.Option) -> None:
    """Every time accepts every unit."""
    unit = 1e3 if (param.name or "").endswith("_ms") else 1.0
    for text, seconds in TIMES.items():
        if text.isdigit():
            assert param.type.convert(text, param, None) == float(text)
        else:
            assert param.type.convert(text, param, None) == pytest.approx(seconds * unit)


@pytest.mark.parametrize("param", RATE_OPTIONS)
def test_rates(param: click.Option) -> None:
    """Every rate and quota accepts every unit, and several of a unit."""
    for text, (calls, span_s) in LIMITS.items():
        written = f"0..{text}" if param.name == "ramp" else text
        value: Any = param.type.convert(written, param, None)
        value = value[-1] if param.name == "ramp" else value[0] if isinstance(value, tuple) else value
        expected = Limit(calls, span_s) if param.name == "quota" else pytest.approx(calls / span_s)
        assert value == expected


@pytest.mark.parametrize("name", TIME_SETTINGS)
@pytest.mark.parametrize("text", TIMES)
def test_settings(name: str, text: str, here_profile: Any) -> None:
    """A time has the same form as a value, as a variable and as a profile key."""
    for settings in here_profile(name, text):
        assert getattr(settings, name) == pytest.approx(TIMES[text])


@pytest.mark.parametrize("name", QUOTA_SETTINGS)
@pytest.mark.parametrize("text", LIMITS)
def test_quotas(name: str, text: str, here_profile: Any) -> None:
    """So has a quota."""
    for settings in here_profile(name, text):
        assert getattr(settings, name) == (Limit(*LIMITS[text]),)


@pytest.mark.parametrize("text", ["+100ms", "+2h", "+90 min", "+30"])
def test_from_now_on(text: str, here_profile: Any) -> None:
    """So has a relative time to finish by."""
    for settings in here_profile(FINISH_BY, text):
        assert settings.finish_by == text


@pytest.fixture
def here_profile(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read a setting from each place where it can be set."""
    monkeypatch.chdir(tmp_path)

    def read(name: str, text: str) -> Iterator[Settings]:
        more: dict[str, Any] = {"host": "h", **BESIDE.get(name, {})}
        yield Settings(**more, **{name: text})
        (tmp_path / "bulkstop.toml").write_text(f"[profile.default]\n{key_of(name)} = {text!r}\n")
        yield Settings.load(**more)
        (tmp_path / "bulkstop.toml").unlink()
        monkeypatch.setenv(variable_of(name), text)
        yield Settings.load(**more)

    return read


def test_every_time_says_so() -> None:
    """The metavar of a setting in seconds does not suggest that only seconds are accepted."""
    assert {OPTION_SPECS[name].metavar for name in TIME_SETTINGS} == {"TIME"}
    floats = [name for name in OPTION_SPECS if isinstance(default_of(name), float)]
    assert set(floats) <= set(TIME_SETTINGS)
    assert all(re.fullmatch(r".*_s", name) for name in floats)
