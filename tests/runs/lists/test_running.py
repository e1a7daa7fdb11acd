"""Listing what runs as the first step of a stop: what is found, the calls it takes, what is reported as unread."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bulkstop.errors import ListError
from bulkstop.kore.exchange import Response
from bulkstop.model import CampaignType, Scope
from bulkstop.report.lists.discovery import Discovery
from bulkstop.runs.lists.discover import make_filter
from bulkstop.runs.lists.running import list_target
from bulkstop.runs.parts import Hooks, open_parts
from bulkstop.runs.wiring import Accounts
from tests.runs.scene import AlwaysOpen, get_token, make_settings

VOICE = Scope("a1", "st-1", "st-1", CampaignType.VOICE)
SMS = VOICE._replace(campaign_type=CampaignType.SMS)
Answer = Callable[[dict[str, Any], dict[str, Any]], object]


class Lists(AlwaysOpen):
    """A service with one list of voice campaigns, newest first; `spoil` may change the data of any answer."""

    def __init__(self, *states: str | None, heeds: bool = True, spoil: Answer = lambda asked, data: None) -> None:
        self.states = {f"cd-{number}": state for number, state in enumerate(states)}
        self.asked: list[dict[str, Any]] = []
        self._heeds, self._spoil = heeds, spoil

    @property
    def narrow(self) -> int:
        """The number of calls for running campaigns only."""
        return sum("Active" in asked["filters"].get("status", ()) for asked in self.asked)

    async def post(self, target: str, headers: Mapping[str, str], body: bytes = b"", cap: int = 0) -> Response:
        """Answer a list call."""
        asked = json.loads(body)
        self.asked.append(asked)
        wanted = asked["filters"].get("status") if self._heeds else None
        of_type = asked["type"] == "voice"
        fit = [(key, state) for key, state in self.states.items() if of_type and (not wanted or state in wanted)]
        begin, end = asked["skip"], asked["skip"] + asked["limit"]
        data: dict[str, Any] = {
            "results": [{"_id": key, "name": key, "status": state} for key, state in fit[begin:end]],
            "hasMore": end < len(fit),
            "totalResults": len(fit),
        }
        if isinstance(said := self._spoil(asked, data), Response):
            return said
        return Response(200, json.dumps({"status": "success", "data": data}).encode(), 1.0)


async def found(
    service: Lists,
    *scopes: Scope,
    statuses: Sequence[str] = ("running",),
    name: str | None = None,
    room: int | None = 60,
    **more: Any,
) -> Discovery:
    """List what runs at a service within a quota of so many calls a minute."""
    settings = make_settings(quota="none" if room is None else f"{room}/60s", attempts=1, **more)
    async with open_parts(settings, Hooks(token=get_token, transport=service)) as parts:
        return await list_target(parts, make_filter(statuses), scopes or (VOICE,), name)


def ids(discovery: Discovery) -> set[str]:
    """Return the ids of what was found."""
    return {item.campaign_id for _, item in discovery.rows}


async def test_fifty_of_five_thousand() -> None:
    """Running ones take a page of each type; the rest of the list leaves a call for each stop, with a message."""
    service = Lists(*["Ready"] * 4000, *["Active"] * 50, *["Completed"] * 950)
    one = await found(service, VOICE, SMS)
    assert (len(one.rows), service.narrow) == (50, 2)
    assert service.narrow + 3 < len(service.asked) == one.calls <= 60 - 50
    (unread,) = one.unread
    assert unread.startswith("voice campaigns of account a1: 4,")
    none = "by the service's own count, none of the whole list is in an undocumented state"
    assert unread.endswith(f" of 5,000 (the quota is needed for the stops); {none}")
    assert one.fault is None


@pytest.mark.parametrize(("place", "is_found"), [(0, True), (4990, False)])
async def test_a_state_beyond_what_was_read(place: int, is_found: bool) -> None:
    """The service counts what was not read: a campaign in another status that was not found is reported."""
    states = [*["Active"] * 50, *["Ready"] * 4950]
    states[place] = "Rerun"
    one = await found(Lists(*states))
    assert (f"cd-{place}" in ids(one), one.fault is None) == (is_found, is_found)
    (unread,) = one.unread
    assert " by the service's own count, 1 of the whole list is in an undocumented state" in unread
    if one.fault:
        assert ": the service counts 1 more campaign in undocumented states" in str(one.fault)


async def test_a_state_that_nobody_documented() -> None:
    """A campaign with another status is found in the whole list, as is one without; those at rest are counted."""
    service = Lists("Rerun", None, "Active", *["Ready"] * 100)
    one = await found(service)
    assert ([item.status for _, item in one.rows], one.unread) == (["Active", "Rerun", None], ())
    assert one.left_out == {"Ready": 100}


async def test_a_whole_list_that_gives_too_few() -> None:
    """If the whole list returns fewer campaigns than the service counts, more may run than was found."""

    def count_more(asked: dict[str, Any], data: dict[str, Any]) -> None:
        data["totalResults"] += 0 if asked["filters"] else 5

    one = await found(Lists("Active", *["Ready"] * 3, spoil=count_more))
    assert ids(one) == {"cd-0"}
    assert ": the service counts 9 but gives 4" in str(one.fault)


async def test_no_quota_left() -> None:
    """If the stops need all calls, the whole list is not read, with a message and without a wait."""
    service = Lists(*["Active"] * 30)
    one = await found(service, room=20)
    assert (len(one.rows), len(service.asked)) == (30, 1)
    why = "those in undocumented states (the quota is needed for the stops)"
    assert one.unread == (f"voice campaigns of account a1: {why}",)


async def test_only_what_fits_the_name_needs_a_stop() -> None:
    """Campaigns that a name leaves out need no call for a stop, so more of the list is read."""
    service = Lists(*["Active"] * 40)
    one = await found(service, name="cd-7", room=20)
    assert (ids(one), one.unread, one.left_out) == ({"cd-7"}, (), {"Active": 39})


async def test_states_that_are_named() -> None:
    """For named statuses the whole list is not read; `all` is the whole list."""
    service = Lists("Scheduled", "Active", "Ready")
    one = await found(service, statuses=["Scheduled"])
    assert (ids(one), one.unread, len(service.asked)) == ({"cd-0"}, (), 1)
    assert ids(await found(service, statuses=["all"])) == set(service.states)


async def test_a_service_that_heeds_no_filter() -> None:
    """If the filter is ignored, the list is read completely, however long."""
    service = Lists(*["Ready"] * 500, "Active", *["Ready"] * 400, "Preparing", heeds=False)
    assert ids(await found(service, room=None)) == {"cd-500", "cd-901"}


async def test_a_filter_that_is_refused() -> None:
    """If the filter is refused, the campaigns of the whole list are found, and the refusal is reported."""

    def refuse(asked: dict[str, Any], data: dict[str, Any]) -> object:
        return Response(400, b'{"message":"bad filter"}', 1.0) if asked["filters"] else None

    one = await found(Lists("Ready", "Active", spoil=refuse))
    assert ids(one) == {"cd-1"}
    assert isinstance(one.fault, ListError)
    assert "bad filter" in str(one.fault)


def _endless(asked: dict[str, Any], data: dict[str, Any]) -> None:
    data["hasMore"] = True


def _repeat(asked: dict[str, Any], data: dict[str, Any]) -> None:
    data |= {"results": [{"_id": "cd-0", "status": "Active"}], "hasMore": True, "totalResults": 9}


def _count_wrongly(asked: dict[str, Any], data: dict[str, Any]) -> None:
    data |= {"totalResults": 1, "hasMore": bool(data["results"])}


def _miscount(asked: dict[str, Any], data: dict[str, Any]) -> None:
    data["totalResults"] += 10


@pytest.mark.parametrize(("spoil", "many"), [(_endless, 120), (_repeat, 1), (_count_wrongly, 120), (_miscount, 120)])
async def test_lists_that_make_no_sense(spoil: Answer, many: int) -> None:
    """Endless lists, repeated pages, wrong totals: the campaigns returned are found, with a doubt."""
    one = await found(Lists(*["Active"] * 120, *["Ready"] * 30, spoil=spoil), room=None)
    assert len(one.rows) == many
    assert spoil in (_count_wrongly, _endless) or one.fault


async def test_a_campaign_that_cannot_be_used() -> None:
    """A running campaign without a usable id is reported as one that may still run."""

    def spoil(asked: dict[str, Any], data: dict[str, Any]) -> None:
        data["results"].append({"_id": "a/b", "status": "Active"})

    one = await found(Lists("Active", spoil=spoil))
    assert ids(one) == {"cd-0"}
    assert "1 campaign that runs cannot be used; first: campaign 'a/b'" in str(one.fault)


async def test_what_either_reading_has_running() -> None:
    """A campaign that runs in one of the two readings is listed, whatever the other has."""

    def end(asked: dict[str, Any], data: dict[str, Any]) -> None:
        if not asked["filters"]:
            data["results"][0]["status"] = "Completed"

    one = await found(Lists("Active", "Ready", spoil=end))
    assert ([item.status for _, item in one.rows], one.left_out) == (["Active"], {"Ready": 1})


async def test_throttled_while_it_looks_on() -> None:
    """A service that refuses calls for the whole list does not delay the stops; the rest is reported."""

    def throttle(asked: dict[str, Any], data: dict[str, Any]) -> object:
        return None if asked["filters"] else Response(429, b"{}", 1.0, retry_after="60")

    service = Lists("Active", *["Ready"] * 300, spoil=throttle)
    one = await found(service, room=None)
    assert (ids(one), one.fault, len(service.asked)) == ({"cd-0"}, None, 2)
    assert len(one.unread) == 1


async def test_list_and_stops_share_the_quota() -> None:
    """The calls of the list count for the run that follows in the same process, also where no store remembers them."""
    settings = make_settings(quota="10/60s")
    async with open_parts(settings, Hooks(token=get_token, transport=Lists("Active"))) as parts:
        await list_target(parts, make_filter(), (VOICE,))
        before: Accounts = parts.accounts
    async with open_parts(settings, Hooks(token=get_token, transport=Lists(), accounts=before)) as parts:
        assert len(parts.accounts.read_ages("a1")) == 2
        assert parts.accounts.quota("a1") is before.quota("a1")
