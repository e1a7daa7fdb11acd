"""An engine: the runs of a process, and the connections, token and quotas that they share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from bulkstop.engine.steering.early_end import EarlyEnd
from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, OnResult
from bulkstop.runs.clients import Others
from bulkstop.runs.notify import Notifier, RunNotices, has_receivers
from bulkstop.runs.options import RunOptions, check_callable, check_kind, check_names, check_options, read_expected
from bulkstop.runs.parts import Around, GetToken, Hooks, Parts, open_parts
from bulkstop.runs.stop.forecast import find_earliest_end, read_ages
from bulkstop.runs.stop.plan import check_usable, make_plan
from bulkstop.runs.stop.prepare import Source, prepare, read_destination, read_plan
from bulkstop.runs.stop.run import Prepare, Run
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.runs.wiring import Accounts
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.kore.exchange import Transport
    from bulkstop.kore.session import Classify
    from bulkstop.report.lists.verification import Verification
    from bulkstop.report.load.summary import LoadSummary
    from bulkstop.runs.load.prepare import LoadOptions


class Engine:
    """Stops campaigns in any number of runs, which share its connections, its token and its quotas.

    Use it as an async context manager, in one event loop. `token` returns a token each time it is awaited, and replaces
    the credentials in the settings; `transport` carries the calls; `around` gets the function that sends one attempt,
    and returns a function that replaces it; `classify` interprets the response to a stop, or returns None to leave that
    to the engine. `profiles` are the settings for campaigns that name a profile, each with its own credentials,
    connections and quota; the hooks do not apply to them. Leaving the block aborts the runs that have not ended, and
    waits for them.

    Raises a BulkstopError on entry for settings that cannot work.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: GetToken | None = None,
        transport: "Transport | None" = None,
        around: Around | None = None,
        classify: "Classify | None" = None,
        profiles: Mapping[str, Settings] | None = None,
    ) -> None:
        check_kind("settings", settings, "Settings", *OPTION_SPECS)
        check_callable(token=token, around=around, classify=classify)
        if transport is not None:
            check_kind("transport", transport, "a Transport", "post", "__aenter__", "__aexit__")
        self.settings = settings
        self._profiles = make_profiles(settings, profiles)
        others = Others(dict(self._profiles.others)) if self._profiles else None
        self._hooks = Hooks(token, transport, around, classify, others=others)
        self._open = AsyncExitStack()
        self._parts: Parts | None = None
        self._plans: list[Plan] = []
        self._notifier: Notifier | None = None

    async def __aenter__(self) -> Self:
        """Open the shared parts; raises SettingsError for an engine that is already open."""
        if self._parts is not None:
            raise SettingsError("the engine is open already: what uses it runs in one block")
        self._parts = await self._open.enter_async_context(open_parts(self.settings, self._hooks))
        self._notifier = Notifier(self.settings) if has_receivers(self.settings) else None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort the runs that have not ended, wait for them, and close the shared parts."""
        parts, self._parts = self.parts, None
        parts.loop = None  # no run can begin any more
        try:
            await _end_all(list(parts.runs))
        finally:
            for plan in self._plans:
                plan.close()
            self._plans.clear()
            if self._notifier is not None:
                await self._notifier.close()
            await self._open.aclose()

    def count_before(self, accounts: Accounts) -> None:
        """Count calls that this process has already made for these accounts; call it before the engine is opened."""
        self._hooks = replace(self._hooks, accounts=accounts)

    def call_for(self, others: Others) -> None:
        """Use the credentials of other profiles for their calls; call it before the engine is opened."""
        self._hooks = replace(self._hooks, others=others)

    @property
    def parts(self) -> Parts:
        """The shared parts; raises SettingsError outside the block."""
        if self._parts is None:
            raise SettingsError("the engine is not open: use it in `async with`")
        return self._parts

    async def plan(self, source: Source, *, format: str | None = None, strict: bool = False) -> Plan:  # noqa: A002 - the word of its option
        """Read a source completely and plan a run; nothing is sent.

        `format` (csv, jsonl or txt) is the format of files whose name does not tell it. Raises InputError for a source
        that cannot be read, and with `strict` for any row that cannot be used.
        """
        self.parts.check_usable()
        check_options({"format": format})
        plan = await read_plan(source, partial(make_plan, settings=self.settings, fmt=format, profiles=self._profiles))
        self._plans = [each for each in self._plans if not each.is_closed]
        self._plans.append(plan)
        ages = await read_ages(plan, self.settings, profiles=self._profiles) if plan.stop_times else {}
        plan.warnings = tuple(find_warnings(plan, self.settings, None, self._profiles, ages))
        plan.ends_at = find_earliest_end(plan, self.settings, self._profiles)
        if strict:
            check_usable(plan)
        return plan

    def run(self, source: Source | Plan, on_result: OnResult | None = None, **options: Unpack[RunOptions]) -> Run:
        """Return a run of a source or a plan; it starts when it is awaited, iterated over, or by `start()`.

        Each result goes to `on_result`, which may be asynchronous, and as a line to the file `output`. That file must
        not exist, unless `overwrite` replaces it or `resume` continues it. A resumed run skips the rows that have
        ended, except those with an outcome in `retry`, or with `retry_failed` those worth another attempt.
        `trust_results` continues a file that its manifest does not prove, or that others can write. `format` is the
        format of files whose name does not tell it, `expect` the fewest and the most campaigns to stop. Starting the
        run is the confirmation. Raises SettingsError for options that conflict.
        """
        check_callable(on_result=on_result)
        destination = read_destination(source, self.settings, options)
        fmt, expect, ending = options.get("format"), read_expected(options.get("expect")), EarlyEnd()
        return self.prepare_run(
            lambda run_id: prepare(
                source, self.settings, destination, run_id, ending, fmt=fmt, expect=expect, profiles=self._profiles
            ),
            on_result,
            ending=ending,
            make_notices=self.make_notices,
        )

    def prepare_run(
        self,
        prepare: Prepare,
        on_result: OnResult | None = None,
        *,
        run_id: str | None = None,
        ending: EarlyEnd | None = None,
        make_notices: "Callable[[str], RunNotices | None] | None" = None,
    ) -> Run:
        """Return a run whose plan and results come from `prepare`; without `make_notices` no receiver is notified."""
        return Run(self.parts, prepare, on_result, run_id=run_id, ending=ending, make_notices=make_notices)

    def make_notices(self, run_id: str) -> RunNotices | None:
        """Return the sender of a run's notices; None if the settings name no receivers."""
        return None if self._notifier is None else RunNotices(self._notifier, self.settings, run_id)

    async def discover(
        self,
        *,
        types: str | Iterable[str] | None = None,
        name: str | None = None,
        statuses: str | Iterable[str] = "running",
        priorities: str | int | Iterable[int] = (),
    ) -> AsyncIterator[Campaign]:
        """Yield the campaigns that run now in the settings' account and stream, as a source for a run.

        `types` (`voice,sms`) selects types, by default that of the settings or both. `name` is a pattern (`Promo*`).
        `statuses` is a list (`Active,Scheduled`) or one word: `running` is Active, Preparing and every undocumented
        status, for which the whole list is read; `all`, or empty, is any. `priorities` is a list (`1,2`). The facts of
        the list that show a campaign's impact are in its `row`. Raises a BulkstopError if a list cannot be read
        completely.
        """
        from bulkstop.runs.lists.discover import find_campaigns  # most programs need no discovery

        if name is not None:
            check_kind("name", name, "a pattern", "casefold")
        for campaign in await find_campaigns(
            self.parts, types=types, name=name, statuses=statuses, priorities=priorities
        ):
            yield campaign

    async def load(self, source: Source | None = None, **options: "Unpack[LoadOptions]") -> "LoadSummary":
        """Load-test the service: each request is a real stop, sent on a schedule and measured from its due time.

        Requests are for the campaigns of a source, repeatedly, or for made-up ones, whose ids begin with `id_prefix`.
        One of `rate` ("50/s"), `ramp` ("10..1000/s"), `steps` ("100,200/s", each held for `step`) and `closed` sets the
        schedule, `duration` ("30s") or `count` its length; `spike` ("2000/s:5s") is a jump in the middle. At most
        `max_in_flight` are in flight. `require` lists conditions, such as ["p99<250ms", "errors<1%"]; `check()` of the
        summary raises unless all hold and the schedule was kept within `max_late`. Each request is sent once: no
        retries, no quota. The vendor's own hosts are refused unless `allow_host` names them.
        """
        from bulkstop.runs.load.prepare import LoadOptions, load_source  # most programs make no load test

        check_names(options, LoadOptions.__annotations__)
        return await load_source(self.settings, source, options, self._hooks, self.parts)

    async def verify(
        self,
        source: Source,
        *,
        format: str | None = None,  # noqa: A002 - as in `plan`
        singly: bool = False,
        calls: bool = False,
    ) -> "Verification":
        """Check whether the campaigns of a source still run, are scheduled, or will run again; nothing is stopped.

        The source is result files, or any source of a run. `singly` makes a call for each campaign instead of reading
        lists. `calls` also looks for contacts of stopped campaigns that started after the stop, or last. Raises a
        BulkstopError for a source that cannot be used; a later fault is in the result, and its `check()` raises it.
        """
        from bulkstop.runs.lists.verify import verify_source  # most programs verify nothing

        return await verify_source(self.parts, source, fmt=format, singly=singly, calls=calls, profiles=self._profiles)


def make_profiles(settings: Settings, profiles: Mapping[str, Settings] | None) -> Profiles | None:
    """Return the profiles that campaigns may name, None for none; raises SettingsError for an invalid one."""
    if profiles is None:
        return None
    check_kind("profiles", profiles, "a mapping of names to Settings", "items")
    for each in profiles.values():
        check_kind("profiles", each, "a mapping of names to Settings", *OPTION_SPECS)
    made = Profiles(settings)
    made.others.update(profiles)
    return made


async def _end_all(runs: Sequence[Run]) -> None:
    """Abort runs, and wait for all of them even if this task is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    for run in runs:
        run.abort()
    for run in runs:
        try:
            await run.settle()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
