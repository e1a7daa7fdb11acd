"""An engine: what runs share, and the runs themselves."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, CampaignType
from bulkstop.runs.options import RunOptions, check_callable, check_kind, check_options, read_expected, read_types
from bulkstop.runs.parts import Around, GetToken, Hooks, Parts, open_parts
from bulkstop.runs.stop.forecast import find_earliest_end
from bulkstop.runs.stop.plan import check_usable, make_plan
from bulkstop.runs.stop.prepare import Source, prepare, read_destination, read_plan
from bulkstop.runs.stop.run import OnResult, Prepare, Run
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.settings import OPTION_SPECS, Settings
from bulkstop.source.plan import Plan

if TYPE_CHECKING:
    from bulkstop.kore.exchange import Transport
    from bulkstop.kore.session import Classify


class Engine:
    """Stops campaigns in any number of runs, which share its connections, its token and its quotas.

    Use it as an async context manager, in one event loop. `token` gives a token each time it is awaited, in place of
    the credentials in the settings; `transport` carries the calls; `around` is given the function that sends one
    attempt, and returns another in its place; `classify` says what the response to a stop means, or None to leave that
    to the engine. Leaving the block aborts the runs that have not ended, and waits for them.

    Raises a BulkstopError, when the block is entered, for settings that cannot work.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        token: GetToken | None = None,
        transport: "Transport | None" = None,
        around: Around | None = None,
        classify: "Classify | None" = None,
    ) -> None:
        check_kind("settings", settings, "Settings", *OPTION_SPECS)
        check_callable(token=token, around=around, classify=classify)
        if transport is not None:
            check_kind("transport", transport, "a Transport", "post", "__aenter__", "__aexit__")
        self.settings = settings
        self._hooks = Hooks(token, transport, around, classify)
        self._open = AsyncExitStack()
        self._parts: Parts | None = None
        self._runs: list[Run] = []
        self._plans: list[Plan] = []

    async def __aenter__(self) -> Self:
        self._parts = await self._open.enter_async_context(open_parts(self.settings, self._hooks))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort the runs that have not ended, wait for them, and close what they shared."""
        try:
            for run in self._runs:
                await run.close()
        finally:
            for plan in self._plans:
                plan.close()
            self._parts = None
            await self._open.aclose()

    @property
    def parts(self) -> Parts:
        """What runs share; raises SettingsError outside the block."""
        if self._parts is None:
            raise SettingsError("the engine is not open: use it in `async with`")
        return self._parts

    async def plan(self, source: Source, *, format: str | None = None, strict: bool = False) -> Plan:  # noqa: A002 - the word of its option
        """Read a source to its end and plan a run; nothing is sent.

        `format` (csv, jsonl or txt) is the form of files whose name does not tell it. Raises InputError for a source
        that cannot be read, and with `strict` when any row cannot be used.
        """
        check_options({"format": format})
        plan = await read_plan(source, partial(make_plan, settings=self.settings, fmt=format))
        self._plans.append(plan)
        plan.warnings = tuple(find_warnings(plan, self.settings, None))
        plan.ends_at = find_earliest_end(plan, self.settings)
        if strict:
            check_usable(plan)
        return plan

    def run(self, source: Source | Plan, on_result: OnResult | None = None, **options: Unpack[RunOptions]) -> Run:
        """Return a run of a source or a plan; it starts when it is awaited, iterated over or told to.

        Each result goes to `on_result`, which may be asynchronous, and as a line into the file `output`, which must be
        new unless `overwrite` or `resume` is given. A resumed run goes on with that file: what ended in it is not sent
        again, unless it ended in one of the outcomes `retry`, or with `retry_failed` in one that is worth it. `format`
        is the form of files whose name does not tell it, `expect` the fewest and the most campaigns to stop. Asks
        nobody: starting it is the confirmation. Raises SettingsError for options that do not go together.
        """
        check_callable(on_result=on_result)
        destination = read_destination(source, self.settings, options)
        fmt, expect = options.get("format"), read_expected(options.get("expect"))
        return self.prepare_run(
            lambda run_id: prepare(source, self.settings, destination, run_id, fmt=fmt, expect=expect), on_result
        )

    def prepare_run(self, prepare: Prepare, on_result: OnResult | None = None) -> Run:
        """Return a run whose plan and results somebody else prepares."""
        run = Run(self.parts, prepare, on_result)
        self._runs.append(run)
        return run

    async def discover(
        self, *, types: Iterable[CampaignType | str] = tuple(CampaignType), name: str | None = None
    ) -> AsyncIterator[Campaign]:
        """Give the campaigns that run now in the settings' account and stream; it is a source of a run.

        `name` is a pattern (`Promo*`) that their names must match. Raises a BulkstopError when a list cannot be read to
        its end.
        """
        from bulkstop.runs.lists.discover import find_running  # seldom wanted

        if name is not None:
            check_kind("name", name, "a pattern", "casefold")

        for campaign in await find_running(self.parts, read_types(types), name):
            yield campaign
