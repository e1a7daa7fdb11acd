"""Prepares a load test from options and a source."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from functools import partial
from os import PathLike, fspath
from typing import Any, TypedDict

from bulkstop.errors import SettingsError
from bulkstop.report.load.metrics import MAX_LATE_S
from bulkstop.report.load.summary import LoadSummary
from bulkstop.report.load.thresholds import Threshold, parse_threshold, with_usual
from bulkstop.runs.load.hosts import check_named
from bulkstop.runs.load.run import Load, choose_max_in_flight, execute
from bulkstop.runs.load.shapes import Shape, parse_arrivals, parse_ramp, parse_rate, parse_spike, parse_steps
from bulkstop.runs.load.targets import PREFIX, check_number, check_targets, choose_targets, describe_targets
from bulkstop.runs.parts import Hooks, Parts
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.stop.prepare import Source, read_plan
from bulkstop.settings import Settings
from bulkstop.settings.parse import parse_count, parse_seconds
from bulkstop.source.plan import Plan


class LoadOptions(TypedDict, total=False):
    """The options of a load test, as on the command line; see `Engine.load`."""

    rate: str | float | None
    ramp: str | None
    steps: str | None
    step: str | float | None
    spike: str | None
    closed: bool
    duration: str | float | None
    count: int | None
    max_in_flight: int | None
    max_late: str | float | None
    arrivals: str
    warmup: str | float | None
    require: str | Iterable[str]
    abort_on: str | Iterable[str]
    id_prefix: str
    allow_host: str | Iterable[str]
    format: str | None


_PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "rate": ("rate", parse_rate),
    "ramp": ("ramp", parse_ramp),
    "steps": ("steps", parse_steps),
    "step": ("step_s", parse_seconds),
    "spike": ("spike", parse_spike),
    "duration": ("length_s", parse_seconds),
    "count": ("count", parse_count),
    "max_in_flight": ("max_in_flight", parse_count),
    "max_late": ("max_late_s", parse_seconds),
    "arrivals": ("arrivals", parse_arrivals),
    "warmup": ("warmup_s", parse_seconds),
}
"""The reader of each text option, and the name of its value."""


def make_load(
    shape: Shape,
    plan: Plan | None,
    settings: Settings,
    label: str,
    *,
    max_in_flight: int | None = None,
    max_late_s: float = MAX_LATE_S,
    require: tuple[Threshold, ...] = (),
    abort_on: tuple[Threshold, ...] = (),
    processes: int = 1,
) -> Load:
    """Return a load; `label` is the name of its campaigns.

    Raises SettingsError for a load without an end.
    """
    to_send = None if plan is None else plan.to_send
    schedule = shape.schedule(to_send)
    load = Load(
        schedule=schedule,
        count=shape.count_for(to_send),
        length_s=shape.length_s,
        max_in_flight=settings.concurrency
        if schedule is None
        else max_in_flight or choose_max_in_flight(schedule, settings.timeout_s),
        max_late_s=max_late_s,
        require=with_usual(require),
        abort_on=abort_on,
        warmup_s=shape.warmup_s,
        processes=processes,
        shape=shape.words(),
    )
    return replace(load, targets=describe_targets(plan, settings, label, load.planned))


async def load_source(
    settings: Settings, source: Source | None, options: LoadOptions, hooks: Hooks, shared: Parts
) -> LoadSummary:
    """Load-test the campaigns of a source, or made-up ones; raises a BulkstopError if it cannot start."""
    values, prefix = _parse_all(options), options.get("id_prefix", PREFIX)
    shape = Shape(closed=options.get("closed", False), **{name: values.pop(name) for name in _SHAPE & values.keys()})
    require = _parse_thresholds("require", options.get("require", ()))
    abort_on = _parse_thresholds("abort_on", options.get("abort_on", ()))
    check_named(settings.host, _list(options.get("allow_host", ())))
    label = prefix if source is None else "the source"
    if isinstance(source, str | PathLike):
        label = fspath(source)
    make = partial(make_plan, settings=settings, fmt=options.get("format"))
    with nullcontext() if source is None else await read_plan(source, make) as plan:
        if plan is not None:
            check_targets(plan, settings, label)
        load = make_load(shape, plan, settings, label, require=require, abort_on=abort_on, **values)
        if plan is None:
            check_number(settings, load.planned)
        campaigns = choose_targets(plan, settings, prefix)(0, 1)
        return await execute(load, campaigns, settings, hooks=hooks, shared=shared)


_SHAPE = {each.name for each in fields(Shape)}


def _parse_all(options: LoadOptions) -> dict[str, Any]:
    """Return the values of the text options, by name."""
    texts = {name: text for name, text in options.items() if name in _PARSERS and text is not None}
    return {_PARSERS[name][0]: _parse(name, _PARSERS[name][1], text) for name, text in texts.items()}


def _parse_thresholds(name: str, texts: str | Iterable[str]) -> tuple[Threshold, ...]:
    return tuple(_parse(name, parse_threshold, text) for text in _list(texts))


def _parse(name: str, parse: Callable[[str], Any], value: object) -> Any:
    try:
        return parse(str(value))
    except ValueError as error:
        raise SettingsError(f"{name}: {error}; nothing was sent") from None


def _list(texts: str | Iterable[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
