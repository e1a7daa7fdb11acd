"""The states that a list shows during a run, in as few calls as possible."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import NoQuota
from bulkstop.engine.readback import ListedState, ListProgress, Reading
from bulkstop.engine.retry import Retry
from bulkstop.errors import CredentialsError
from bulkstop.kore.calls import PAGE, Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, Campaign, CampaignType, Outcome
from bulkstop.runs.stop.readback import list_reader

OF = Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "i-1", "list.csv", 1)
Row = Mapping[str, object]
States = Mapping[str, ListedState]


class Service:
    """An Ask that gives these rows, `PAGE` at a time; from call number `fails_at` on it answers `status`."""

    def __init__(self, rows: Sequence[Row], *, total: int | None = None, fails_at: int = 0, status: int = 500) -> None:
        self.asked: list[dict[str, Any]] = []
        self.targets: list[str] = []
        self._rows, self._total, self._fails_at, self._status = rows, total, fails_at, status

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer a list call."""
        asked = json.loads(call.body)
        self.asked.append(asked)
        self.targets.append(call.target)
        if self._fails_at and len(self.asked) >= self._fails_at:
            return call.read(Response(self._status, b"{}", 1.0))
        begin, limit = int(asked["skip"]), int(asked["limit"])
        data = {
            "results": list(self._rows[begin : begin + limit]),
            "hasMore": begin + limit < len(self._rows),
            "totalResults": len(self._rows) if self._total is None else self._total,
        }
        return call.read(Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0))


def row(number: int, status: str | None = "Stopped", **more: object) -> Row:
    """Make a row of a list."""
    return {"_id": f"cd-{number}", "status": status, **more}


def rows(count: int, status: str = "Stopped") -> list[Row]:
    """Make the rows 1 to `count`."""
    return [row(number, status) for number in range(1, count + 1)]


def has(*numbers: int) -> Callable[[States], bool]:
    """Make what is enough once these campaigns were seen."""
    return lambda states: {f"cd-{number}" for number in numbers} <= states.keys()


def read(service: Any, is_enough: Callable[[States], bool] = lambda states: False) -> Reading:
    """Read the list of a campaign's group."""

    async def main() -> Reading:
        reader = list_reader(service.ask, lambda account_id: Caller(NoQuota(), retry=Retry(1)))
        return await reader(OF, is_enough, ListProgress(lambda: 0.0))

    return asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7])
def test_the_whole_list_is_read_where_nothing_less_is_enough(count: int) -> None:
    """Every campaign of every page is there, and the calls are counted."""
    service = Service(rows(count))
    reading = read(service)
    assert reading.states.keys() == {f"cd-{number}" for number in range(1, count + 1)}
    assert (reading.fault, reading.calls) == (None, len(service.asked))


@pytest.mark.parametrize(
    ("numbers", "calls"), [((1,), 1), ((PAGE,), 1), ((PAGE + 1,), 2), ((1, PAGE + 20), 2), ((3, 120), 3)]
)
def test_a_list_is_read_no_further_than_to_what_is_enough(numbers: Sequence[int], calls: int) -> None:
    """The reading ends with the page of the last requested campaign, whatever the service counts."""
    service = Service(rows(20 * PAGE))
    reading = read(service, has(*numbers))
    assert len(service.asked) == reading.calls == calls
    assert reading.fault is None
    assert has(*numbers)(reading.states)


def test_all_states_of_the_campaigns_own_group_are_asked_for() -> None:
    """No filter hides one that is at rest."""
    service = Service(rows(3))
    read(service)
    assert not service.asked[0].get("filters", {}).get("status")
    assert "a1" in service.targets[0]


@pytest.mark.parametrize(
    ("told", "is_at_rest"),
    [
        (row(1, "Stopped"), True),
        (row(1, "completed"), True),
        (row(1, "Ready"), True),
        (row(1, "Stopped", isScheduled=True, isRecurring=True), True),
        (row(1, "Active"), False),
        (row(1, "Scheduled"), False),
        (row(1, "Rescheduled"), False),
        (row(1, "Draining"), False),
        (row(1, None), False),
    ],
)
def test_what_proves_that_a_campaign_is_at_rest(told: Row, is_at_rest: bool) -> None:
    """Only a documented state of rest is a proof.

    A campaign that starts by itself, or an undocumented status, is none.
    """
    (state,) = read(Service([told])).states.values()
    assert (state.status, state.is_at_rest) == (told["status"], is_at_rest)


@pytest.mark.parametrize("statuses", [("Stopped", "Active"), ("Active", "Stopped")])
def test_of_two_rows_of_a_campaign_on_a_page_the_worse_one_counts(statuses: Sequence[str]) -> None:
    """A page that says both proves no rest."""
    reading = read(Service([row(1, status) for status in statuses]), has(1))
    assert reading.states["cd-1"] == ListedState("Active", is_at_rest=False)


@pytest.mark.parametrize(("first", "later"), [("Active", "Stopped"), ("Stopped", "Active")])
def test_a_later_page_has_the_newer_state(first: str, later: str) -> None:
    """A campaign that is met again further on has changed meanwhile."""
    reading = read(Service([row(1, first), *[row(number) for number in range(2, PAGE + 20)], row(1, later)]))
    assert reading.states["cd-1"].status == later


@pytest.mark.parametrize("status", [403, 500, 404])
def test_a_list_that_fails_says_why_and_keeps_what_it_gave(status: int) -> None:
    """Pages before a failure count; what was not read proves nothing."""
    reading = read(Service(rows(3 * PAGE), fails_at=2, status=status), has(1, 2 * PAGE))
    assert reading.states.keys() == {f"cd-{number}" for number in range(1, PAGE + 1)}
    assert reading.fault is not None
    assert str(status) in reading.fault
    assert reading.calls == 2


def test_a_failure_behind_what_is_enough_does_not_matter() -> None:
    """The page that would fail is never requested."""
    assert read(Service(rows(3 * PAGE), fails_at=2), has(1)).fault is None


def test_a_list_that_lacks_what_the_service_counts_is_doubtful() -> None:
    """A campaign may be missing in an incomplete list; if all are in it, there is no doubt."""
    reading = read(Service(rows(10), total=12))
    assert reading.fault is not None
    assert "12" in reading.fault
    assert read(Service(rows(10), total=12), has(10)).fault is None


def test_what_ends_all_calls_is_raised() -> None:
    """Without a token there is nothing to read with, and the run has to end."""

    class NoToken:
        async def ask(self, call: Call[T], /) -> T | Attempt:
            raise CredentialsError("the token expired")

    with pytest.raises(CredentialsError, match="expired"):
        read(NoToken())


def test_an_outcome_names_a_failure_without_words() -> None:
    """A reading that failed always has a reason."""

    class Mute:
        async def ask(self, call: Call[T], /) -> T | Attempt:
            return Attempt(Outcome.CONNECTION_ERROR)

    assert read(Mute()).fault == "connection_error"


@pytest.mark.parametrize("count", [1, PAGE, PAGE + 1, 6 * PAGE + 7, 20 * PAGE])
def test_after_the_first_page_it_is_known_how_many_calls_are_left(count: int) -> None:
    """Within one of them, and one less with each page to the end."""
    service, left = Service(rows(count)), list[int]()
    progress = ListProgress(iter(map(float, itertools.count())).__next__)

    def is_enough(states: States) -> bool:
        left.append(progress.left)
        return False

    async def main() -> None:
        reader = list_reader(service.ask, lambda account_id: Caller(NoQuota(), retry=Retry(1)))
        await reader(OF, is_enough, progress)

    asyncio.run(main())
    calls = len(service.asked)
    assert left[-1] == 0
    assert left[0] == pytest.approx(calls - 1, abs=1)
    assert (progress.read, progress.page_s, progress.asked_at) == (calls, 1.0, None)
