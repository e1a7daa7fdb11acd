"""Lists that are read in pages while they change: what is found, what is reported, and that it ends."""

import asyncio
import json
import random
import re
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import NoQuota
from bulkstop.engine.retry import Retry
from bulkstop.kore.calls import PAGE, Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, CampaignType, ListedCampaign, Outcome, Scope
from bulkstop.runs.lists import listing as module
from bulkstop.runs.lists.listing import ListFilter, Listing
from bulkstop.runs.lists.roster import read_roster

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
ACTIVE = ListFilter(("Active",))


class Service:
    """A list call of which each trait can be chosen, and campaigns that change between the calls.

    `heeds` is what moves it: skip, page, the further of both, their sum, or nothing. It gives at most `most` rows.
    """

    def __init__(
        self,
        count: int,
        *,
        heeds: str = "skip",
        most: int = 10**6,
        says: Sequence[str] = ("hasMore", "totalPages", "totalResults"),
        filters: bool = True,
        change: Callable[["Service"], None] = lambda service: None,
    ) -> None:
        self.states = {f"cd-{number}": "Active" for number in range(count, 0, -1)}  # newest first
        self.calls = 0
        self.always: set[str] = set(self.states)
        """Those that were active all the time."""
        self.ever: set[str] = set(self.states)
        self.more: dict[str, object] = {}
        self._heeds, self._most, self._says, self._filters, self._change = heeds, most, says, filters, change

    def put(self, campaign_id: str, state: str) -> None:
        """Change a state."""
        self.states[campaign_id] = state
        (self.ever.add if state == "Active" else self.always.discard)(campaign_id)

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer a list call; what changes, changes right before."""
        if self.calls:
            self._change(self)
        self.calls += 1
        return call.read(Response(200, json.dumps(self._answer(json.loads(call.body))).encode(), 1.0))

    def _answer(self, asked: dict[str, Any]) -> dict[str, object]:
        wanted = asked["filters"].get("status") if self._filters else None
        fit = [{"_id": name, "status": state} for name, state in self.states.items() if not wanted or state in wanted]
        limit = min(asked["limit"], self._most)
        begin = self._begin(asked, limit)
        data = {
            "results": fit[begin : begin + limit],
            "hasMore": begin + limit < len(fit),
            "totalPages": -(-len(fit) // limit),
            "totalResults": len(fit),
        }
        kept = {name: value for name, value in data.items() if name in ("results", *self._says)}
        return {"status": "success", "data": kept | self.more}

    def _begin(self, asked: dict[str, Any], limit: int) -> int:
        skip, by_page = int(asked["skip"]), (int(asked["page"]) - 1) * limit
        heeded = {"skip": skip, "page": by_page, "further": max(skip, by_page), "sum": skip + by_page, "nothing": 0}
        return heeded[self._heeds]


def read(service: Any, *groups: Scope, wanted: ListFilter = ACTIVE, **more: Any) -> list[Listing]:
    """Read the lists of a service."""
    caller_of = more.pop("caller_of", lambda account_id: Caller(NoQuota(), retry=Retry(1)))
    more.setdefault("any_id", False)
    roster = asyncio.run(read_roster(groups or (VOICE,), service.ask, caller_of, wanted, **more))
    return list(roster.listings.values())


def found(service: Any, **more: Any) -> Listing:
    """Read one list to its end."""
    (one,) = read(service, **more)
    assert one.failure is None, one.failure
    return one


def ids(one: Listing) -> set[str]:
    """Return the ids of a listing."""
    return set(one.items)


# --- lists at rest --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 99, 100, 1234])
@pytest.mark.parametrize("heeds", ["skip", "page", "further"])
@pytest.mark.parametrize("says", [(), ("hasMore",), ("totalPages",), ("totalResults",), ("hasMore", "totalResults")])
def test_every_campaign_once(count: int, heeds: str, says: Sequence[str]) -> None:
    """For any way of paging, each campaign is found once."""
    service = Service(count, heeds=heeds, says=says)
    one = found(service)
    assert ids(one) == set(service.states)
    assert one.doubt is None
    assert one.calls == service.calls <= 1.3 * count / PAGE + 4


def test_pages_that_cannot_be_aimed_at() -> None:
    """A service that adds skip and page cannot be read completely, and the failure says so."""
    assert " pages gave " in failure(Service(200, heeds="sum", says=("totalResults",)))


@pytest.mark.parametrize("most", [10, 20, 25, 49])
@pytest.mark.parametrize("heeds", ["skip", "page"])
def test_shorter_pages_than_asked_for(most: int, heeds: str) -> None:
    """A service that returns fewer rows than requested is read completely."""
    service = Service(1000, most=most, heeds=heeds)
    one = found(service)
    assert (len(one.items), one.doubt) == (1000, None)


def test_longer_pages_than_asked_for() -> None:
    """A service that gives all at once needs one call."""
    service = Service(0)
    service.more = {"results": [{"_id": f"cd-{number}", "status": "Active"} for number in range(500)]}
    one = found(service)
    assert (len(one.items), one.calls) == (500, 1)


def test_filters_are_ours_too() -> None:
    """Campaigns that do not match the filter are omitted, even if the service returns them."""
    service = Service(300, filters=False)
    for number in range(1, 301, 3):
        service.put(f"cd-{number}", "Completed")
    one = found(service)
    assert (ids(one), one.doubt) == (service.always, None)


def test_wanted() -> None:
    """A campaign fits by status, in any letter case, and by priority; one that tells none fits no filter."""
    entry = ListedCampaign("cd-1", CampaignType.VOICE, status="ACTIVE", priority=2)
    assert ListFilter().fits(entry._replace(status=None, priority=None))
    assert ListFilter(("Active", "Paused"), (1, 2)).fits(entry)
    assert not ListFilter(("Paused",)).fits(entry)
    assert not ListFilter((), (1,)).fits(entry)
    assert not ListFilter(("Active",)).fits(entry._replace(status=None))
    assert not ListFilter((), (2,)).fits(entry._replace(priority=None))


def test_unusable_rows_are_told() -> None:
    """Rows that cannot be used are named once, count as seen, and the others are found."""
    service = Service(120)
    service.states["cd\n1"] = service.states[".."] = "Active"
    one = found(service)
    assert len(one.items) == 120
    assert len(one.unusable) == 2
    assert one.doubt is None


# --- lists that change ----------------------------------------------------------------------------------------------


def test_campaigns_that_leave_hide_no_others() -> None:
    """Those that end while their list is read move all others forward; still none of the others is missed."""

    def change(service: Service) -> None:
        for name in [name for name, state in service.states.items() if state == "Active"][:30]:
            service.put(name, "Completed")

    service = Service(1000, change=change)
    assert ids(found(service)) >= service.always
    assert len(service.always) < 500


def test_half_of_a_list_leaves_at_once() -> None:
    """When more leaves than a page holds, the reading goes back until it knows where it is."""

    def change(service: Service) -> None:
        if service.calls == 15:
            for name in list(service.states)[:600]:
                service.put(name, "Stopped")

    service = Service(1000, change=change)
    one = found(service)
    assert ids(one) >= service.always
    assert len(service.always) == 400
    assert one.calls < 34


def test_campaigns_that_come_are_found_in_the_end() -> None:
    """A list that has grown meanwhile is read again, and is complete once it is stable."""

    def change(service: Service) -> None:
        if service.calls <= 10:
            service.states = {f"new-{service.calls}-{n}": "Active" for n in range(10)} | service.states

    service = Service(500, change=change)
    one = found(service)
    assert (ids(one), one.doubt) == (set(service.states), None)


def test_a_list_that_never_rests() -> None:
    """A list that grows with each call is read a bounded number of times, with a doubt."""

    def change(service: Service) -> None:
        service.states = {f"new-{service.calls}": "Active"} | service.states

    service = Service(200, change=change)
    one = found(service)
    assert ids(one) >= service.always
    assert one.doubt == "the list kept changing in 3 readings; try again"
    assert one.calls < 30


def test_the_latest_state_counts() -> None:
    """A campaign that is met again, and no longer fits, is left out; one that fits by now is in."""

    def change(service: Service) -> None:
        service.put("cd-51", "Completed")
        service.put("cd-1", "Active")

    service = Service(100, filters=False, change=change)
    service.put("cd-1", "Ready")
    one = found(service)
    assert "cd-51" not in ids(one)  # it tied the first page to the second
    assert "cd-1" in ids(one)


@pytest.mark.parametrize(("first", "second"), [(10, 20), (10, 80), (49, 50), (48, 49), (3, 140)])
@pytest.mark.parametrize("wanted", [ListFilter(), ACTIVE, ListFilter(("Completed", "Stopped"))])
@pytest.mark.parametrize("turned", [False, True])
def test_the_worse_of_two_rows(first: int, second: int, wanted: ListFilter, turned: bool) -> None:
    """A campaign that the list has twice is there as the one that runs, whichever comes first."""
    states = ["Active", "Stopped"] if turned else ["Stopped", "Active"]

    class Twice(Service):
        """Gives a campaign twice among others."""

        def _answer(self, asked: dict[str, Any]) -> dict[str, object]:
            rows = [{"_id": f"cd-{number}", "status": "Completed"} for number in range(150)]
            rows[first], rows[second] = ({"_id": "cd-x", "status": state} for state in states)
            end = asked["skip"] + asked["limit"]
            return {"status": "success", "data": {"results": rows[asked["skip"] : end], "hasMore": end < 150}}

    one = found(Twice(0), wanted=wanted)
    statuses = {key: item.status for key, item in one.items.items()}
    assert statuses.get("cd-x") == (None if "Stopped" in wanted.statuses else "Active")
    assert one.doubled == 1


@settings(max_examples=100)
@example(seed=0, count=1, leave=0, join=1, heeds="skip", says=set())  # of one campaign, then two
@example(seed=1, count=363, leave=200, join=60, heeds="skip", says=set())  # it becomes shorter than a page
@example(seed=0, count=65, leave=0, join=1, heeds="skip", says=set())  # its last page is longer than it was
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 400),
    leave=st.sampled_from([0, 1, 5, 40, 200]),
    join=st.sampled_from([0, 1, 5, 60]),
    heeds=st.sampled_from(["skip", "page", "further", "sum"]),
    says=st.sets(st.sampled_from(["hasMore", "totalPages", "totalResults"])),
)
def test_any_change(seed: int, count: int, leave: int, join: int, heeds: str, says: set[str]) -> None:
    """For any changes: all campaigns that always fit are found, each once, and none that never did."""
    chance = random.Random(seed)

    def change(service: Service) -> None:
        if service.calls > 30:
            return
        active = [name for name, state in service.states.items() if state == "Active"]
        for name in chance.sample(active, min(chance.randint(0, leave), len(active))):
            service.put(name, "Completed")
        rest = [name for name, state in service.states.items() if state != "Active"]
        for name in chance.sample(rest, min(chance.randint(0, join), len(rest))):
            service.put(name, "Active")
        if join and chance.random() < 0.2:
            service.ever.add(f"new-{service.calls}")
            service.states = {f"new-{service.calls}": "Active"} | service.states

    service = Service(count, heeds=heeds, says=sorted(says), change=change)
    for number in chance.sample(range(1, count + 1), count // 3):
        service.put(f"cd-{number}", "Ready")
    service.ever = {name for name, state in service.states.items() if state == "Active"}
    (one,) = read(service)
    if heeds == "sum" and one.failure is not None:
        return
    assert service.always <= ids(one) <= service.ever
    assert one.failure is None
    assert one.calls == service.calls < 250


# --- services that cannot be believed -------------------------------------------------------------------------------


def failure(service: Any) -> str:
    """Read a list that cannot be read, and give the reason."""
    (one,) = read(service)
    assert one.failure is not None
    assert one.failure.outcome is Outcome.UNCONFIRMED
    return one.failure.error or ""


Change = Callable[["Odd", dict[str, Any], list[Any], int], dict[str, Any]]
FIELDS = ("hasMore", "totalPages", "totalResults")


class Odd:
    """A service of 120 campaigns, every seventh of which runs in an undocumented state, and odd answers."""

    def __init__(self, change: Change) -> None:
        states = {number: "Rerun" if number % 7 == 0 else "Ready" for number in range(120, 0, -1)}
        self.rows = [{"_id": f"cd-{number}", "status": state} for number, state in states.items()]
        self.running = {row["_id"] for row in self.rows if row["status"] == "Rerun"}
        self.calls = 0
        self.last: dict[str, Any] = {}
        self._change = change

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer a list call."""
        self.calls += 1
        asked = json.loads(call.body)
        begin, limit = asked["skip"], asked["limit"]
        whole: dict[str, Any] = {
            "results": self.rows[begin : begin + limit],
            "hasMore": begin + limit < len(self.rows),
            "totalPages": -(-len(self.rows) // limit),
            "totalResults": len(self.rows),
        }
        data = self._change(self, whole, self.rows, begin)
        self.last = whole
        return call.read(Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0))


def say(**fields: object) -> Change:
    """Change fields of each response about the end of the list; None removes a field."""
    return lambda service, data, rows, begin: {
        name: value for name, value in (data | fields).items() if value is not None
    }


AS_IT_IS: Change = say()


def give(change: Callable[[Odd, dict[str, Any]], object], **fields: object) -> Change:
    """Return other rows, and change fields as `say` does."""
    return lambda service, data, rows, begin: say(**fields)(service, data | {"results": change(service, data)}, rows, 0)


def at_call(number: int, change: Change, otherwise: Change = AS_IT_IS) -> Change:
    """Change only the response with this number."""
    return lambda service, data, rows, begin: (change if service.calls == number else otherwise)(
        service, data, rows, begin
    )


SILENT: dict[str, object] = dict.fromkeys(FIELDS)
FIRST_TEN: Change = give(lambda service, data: data["results"][:10], **SILENT)
UNCOUNTED: dict[str, object] = {"totalPages": None, "totalResults": None}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(say(totalResults=3), id="a total too low"),
        pytest.param(say(totalResults=3, hasMore=None), id="a total too low, and no flag"),
        pytest.param(say(totalResults=3, hasMore=False), id="a total too low, and a wrong flag"),
        pytest.param(say(totalResults=3, hasMore=False, totalPages=1), id="nothing right"),
        pytest.param(say(totalResults=50, hasMore=False), id="a total of the page, and a wrong flag"),
        pytest.param(say(totalResults=0), id="a total of nothing"),
        pytest.param(say(totalResults=125), id="a total too high"),
        pytest.param(say(totalResults="120"), id="a total as text"),
        pytest.param(say(totalResults="120", hasMore=None, totalPages=None), id="a total as text, and no more"),
        pytest.param(say(totalResults=-1), id="a total below nothing"),
        pytest.param(say(totalResults=None, hasMore=False), id="a flag against the pages"),
        pytest.param(say(**UNCOUNTED | {"hasMore": False}), id="a full page that is the last by its flag alone"),
        pytest.param(say(**UNCOUNTED | {"hasMore": "false"}), id="a flag as text"),
        pytest.param(give(lambda service, data: data["results"][:20], **SILENT), id="shorter pages, and no word"),
        pytest.param(at_call(1, FIRST_TEN, say(**SILENT)), id="a short first"),
        pytest.param(at_call(2, FIRST_TEN, say(**SILENT)), id="a short second"),
        pytest.param(at_call(2, give(lambda service, data: [])), id="an empty page in the middle"),
        pytest.param(at_call(2, give(lambda service, data: [], hasMore=False, totalResults=0)), id="an empty end"),
        pytest.param(at_call(1, give(lambda service, data: [], **UNCOUNTED)), id="an empty first page"),
        pytest.param(
            at_call(3, give(lambda service, data: service.last["results"], **UNCOUNTED), say(**UNCOUNTED)),
            id="a page again, which is the last by its flag",
        ),
        pytest.param(give(lambda service, data: service.rows[:50], hasMore=False), id="the first page for ever"),
        pytest.param(at_call(2, give(lambda service, data: None)), id="no rows at all"),
    ],
)
def test_nothing_that_runs_is_missed_in_silence(change: Change) -> None:
    """Whatever a service says about the end of its list, running ones are found, or a doubt is reported."""
    service = Odd(change)
    (one,) = read(service, wanted=ListFilter(running=True))
    assert ids(one) == service.running or one.doubt or one.failure
    assert service.calls <= 20


def test_more_for_ever_but_empty() -> None:
    """A service that always promises more and returns nothing is called a few times, and its campaigns are kept."""
    service = Service(120, says=())
    service.more = {"hasMore": True}
    one = found(service)
    assert len(one.items) == 120
    assert one.doubt == "the service says that there are more campaigns, but gives none"
    assert one.calls < 15


def test_more_for_ever_but_counted() -> None:
    """When all that is counted was seen, a promise of more is nothing."""
    service = Service(120)
    service.more = {"hasMore": True}
    one = found(service)
    assert (len(one.items), one.doubt) == (120, None)


@pytest.mark.parametrize("says", [(), ("totalResults",)])
def test_the_same_page_for_ever(says: Sequence[str]) -> None:
    """A service that always returns its first page cannot be read completely, and the failure says so."""
    service = Service(120, heeds="nothing", says=says)
    service.more = {"hasMore": True}
    assert " pages gave 50 campaigns" in failure(service)
    assert service.calls < 15


def test_a_count_that_is_wrong() -> None:
    """A count that is never reached is reported; the campaigns found are kept."""
    service = Service(120)
    service.more = {"totalResults": 125}
    one = found(service)
    assert len(one.items) == 120
    assert one.doubt == "the service counts 125 but gives 120"


def test_a_count_that_cannot_be() -> None:
    """A service that counts without end and gives little is not believed, and not asked without end."""
    service = Service(120)
    service.more = {"totalResults": 10**9 - 1, "hasMore": True}
    assert failure(service) == "the service counts 999,999,999 but gives 120"
    assert service.calls < 15


class Endless:
    """A service that makes campaigns up, 50 a page; each page begins `step` further on than the one before."""

    def __init__(self, step: int, pages: int = 10**9) -> None:
        self.calls = 0
        self._pages = pages
        self._step = step

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Make a page up."""
        await asyncio.sleep(0)  # as a network does: the loop turns between two pages
        begin = self.calls * self._step
        self.calls += 1
        rows = [{"_id": f"{number:0256}", "status": "Active"} for number in range(begin, begin + 50)]
        said = {"status": "success", "data": {"results": rows, "hasMore": self.calls < self._pages}}
        return call.read(Response(200, json.dumps(said).encode(), 1.0))


@pytest.mark.parametrize("step", [1, 49, 1000])
def test_a_list_without_end(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless list, in small or large steps, overlapping or not, ends within the memory limit."""
    monkeypatch.setattr(module, "MOST_BYTES", 500_000)
    service = Endless(step)
    assert re.search(r"do not lead to the end of the list|more than 0 MiB are not kept in memory", failure(service))
    assert 500_000 / (50 * 800) <= service.calls < 80


def test_a_list_without_end_takes_little_memory() -> None:
    """The measured memory of a list is at most the counted one, and the list is given up at the limit."""
    service = Endless(49)
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MOST_BYTES", 4_000_000)
            (listing,) = read(service)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert listing.failure is not None
    assert listing.items == {}
    assert peak < 6_000_000


def test_lists_share_what_may_be_kept() -> None:
    """Lists that are read for one purpose take together no more than is left; what one does not keep is free again."""
    allowance = module.Allowance()
    before = allowance.left

    def read_one(wanted: ListFilter) -> Listing:
        perform, caller = Endless(49, pages=3).ask, Caller(NoQuota(), retry=Retry(1))
        return asyncio.run(module.read_listing(VOICE, perform, lambda _: caller, wanted, allowance=allowance))

    read_one(module.DiscardAll())
    assert allowance.left == before
    assert len(read_one(ACTIVE).items) == 148
    assert 148 * 600 < before - allowance.left < 148 * 1000
    allowance.left = 10_000
    said = read_one(ACTIVE).failure
    assert said is not None
    assert "of all lists are not kept in memory" in (said.error or "")
