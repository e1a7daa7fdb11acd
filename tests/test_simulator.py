"""The simulated service follows the documentation and its options."""

import asyncio
import fcntl
import json
import logging
import math
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import jwt
import orjson
import pytest
from aiohttp import ClientSession, ClientTimeout
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from bulkstop.errors import OutputError, SettingsError
from bulkstop.kore.allowance import pick_rate_limit, read_allowance
from bulkstop.model import Allowance, Limit
from bulkstop.simulator import App, Exchange, Operation, Simulator, SimulatorOptions, serve
from bulkstop.simulator.answers import OVER_LIMIT
from bulkstop.simulator.campaigns import Place, Population
from bulkstop.simulator.faults import RollingQuota, latency_s
from bulkstop.simulator.options import Faults
from bulkstop.simulator.rate_limits import RateLimitHeaders
from bulkstop.simulator.service import Request, Service

pytestmark = pytest.mark.real

ACCOUNT = "5f8d0d55b54764421b7156d9"
SECRET = "a client secret that is long enough for every algorithm, HS512 as well"
STREAM = "st-1"
V2 = f"/campaign/api/v2/public/{STREAM}/campaign"

type_names = pytest.mark.parametrize("kind", ["voice", "sms"])


class Clock:
    """A clock that only changes when it is set."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.at_s


class Arrivals:
    """A clock that tells when it is first read, which is when a request has arrived."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()

    def __call__(self) -> float:
        """Tell the time, always the same."""
        self.arrived.set()
        return 1.0


def stop_path(kind: str, campaign_id: str, account_id: str = ACCOUNT) -> str:
    """Write the documented path of a stop."""
    query = f"?accountId={account_id}&campaignType={kind}&trigger=stop"
    if kind == "voice":
        return f"/api/v2/public/{STREAM}/campaign/trigger/{campaign_id}{query}"
    return f"{V2}//trigger/{campaign_id}{query}"


def status_path(campaign_id: str) -> str:
    """Write the documented path of a status call."""
    return f"{V2}/{campaign_id}/status?accountId={ACCOUNT}&view=status"


AUTH = {"auth": "token", "accountid": ACCOUNT, "Content-Type": "application/json"}
LIST_PATH = f"{V2}/getAllCampaignDetails?accountId={ACCOUNT}"


class Caller:
    """A client of one simulator, and what its last answer was."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.headers: dict[str, str] = {}

    async def __call__(
        self, simulator: Simulator, path: str, body: object = None, *, method: str = "POST", **headers: str
    ) -> tuple[int, dict[str, object]]:
        """Send one request with the path as it is; return the status and the JSON, or the text under `text`."""
        url = URL(simulator.url + path, encoded=True)
        sent = {"auth": "token", "Content-Type": "application/json"} | headers
        data = body if isinstance(body, bytes) else orjson.dumps(body or {})
        async with self._session.request(method, url, data=data, headers=sent) as response:
            raw = await response.read()
            self.headers = dict(response.headers)
            if response.content_type != "application/json":
                return response.status, {"text": raw.decode()}
            answer = orjson.loads(raw)
            assert isinstance(answer, dict)
            return response.status, answer

    async def stop(self, simulator: Simulator, campaign_id: str, kind: str = "voice") -> int:
        """Stop a campaign; return the status."""
        status, _ = await self(simulator, stop_path(kind, campaign_id))
        return status


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Yield a client that is closed after the test."""
    async with ClientSession(timeout=ClientTimeout(total=20)) as session:
        yield Caller(session)


async def send_raw(simulator: Simulator, raw: bytes) -> bytes:
    """Send bytes on a connection of their own; return all that comes back."""
    host, port = simulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def raw_post(path: str) -> bytes:
    """Write a request to the byte as it is documented."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: platform.kore.ai\r\nauth: token\r\naccountid: {ACCOUNT}\r\niid: {STREAM}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    ).encode()


def service(**options: object) -> Service:
    """Return a service without a network."""
    return Service(SimulatorOptions(**options), now=time.monotonic, wall=time.time)  # type: ignore[arg-type]


def ask(target: Service, path: str) -> int | None:
    """Ask a service without a network; return the status."""
    _, exchange = target.answer(Request("POST", path, "token", ACCOUNT, b"{}"))
    return exchange.status


def read_log(path: Path) -> list[dict[str, object]]:
    """Read every line of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the stop calls


async def test_voice_stop_answers_as_documented(call: Caller) -> None:
    """A voice stop is answered with the four documented fields, and nothing else."""
    async with Simulator(SimulatorOptions(), wall=lambda: 1764936095.312) as sim:
        status, answer = await call(sim, stop_path("voice", "cd-1"))
    instance = answer.pop("campaignInstanceId")
    assert re.fullmatch(r"cid-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(instance))
    assert (status, answer) == (
        200,
        {"status": "Stopped", "message": "Campaign Stopped", "updatedAt": "2025-12-05T12:01:35.312Z"},
    )
    assert call.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_sms_stop_answers_as_documented(call: Caller) -> None:
    """An SMS stop is answered with the four documented fields, and nothing else."""
    async with Simulator(SimulatorOptions(), wall=lambda: 0.0) as sim:
        answer = await call(sim, stop_path("sms", "cd-1"))
    assert answer == (
        200,
        {
            "status": "Stopped",
            "message": "Campaign Stopped",
            "updatedAt": "1970-01-01T00:00:00.000Z",
            "campaignExecutionType": "NORMAL",
        },
    )


@type_names
async def test_documented_path_is_matched_and_logged_to_the_byte(kind: str, tmp_path: Path) -> None:
    """The path of a raw request, double slash included, is what is matched and what the log shows."""
    log = tmp_path / "requests.jsonl"
    path = stop_path(kind, "cd-1")
    async with Simulator(SimulatorOptions(log=log)) as sim:
        answer = await send_raw(sim, raw_post(path))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert read_log(log)[0]["path"] == path
    assert ("//trigger" in path) == (kind == "sms")


@pytest.mark.parametrize(
    "path",
    [
        stop_path("sms", "cd-1").replace("//trigger", "/trigger"),
        stop_path("voice", "cd-1").replace("/trigger", "//trigger"),
        "/campaign" + stop_path("voice", "cd-1"),
        stop_path("voice", "cd-1/more"),
        stop_path("voice", ""),
        stop_path("voice", ".."),
        stop_path("voice", "%2e%2E"),
        stop_path("voice", "."),
        "/",
    ],
)
async def test_other_paths_lead_nowhere(path: str) -> None:
    """A path that differs from the documented one by a slash or a step is answered 404 and stops nothing."""
    async with Simulator(SimulatorOptions()) as sim:
        answer = await send_raw(sim, raw_post(path))
        assert sim.states == {}
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_calling_hours() -> None:
    """Campaigns have calling hours of all documented kinds, or none; or exactly the requested ones."""
    paths = [f"{V2}/cd-{number}" for number in range(200)]
    written = {"frequency": "DAILY", "timezone": "Mars/X", "days": [("MO", "9", "25:00 PM")]}
    for form, kinds in (("mixed", {None, "DAILY", "WEEKLY", "CUSTOM"}), ("none", {None}), ("9-25:00 PM Mars/X", None)):
        target, found = service(calling_hours=form), list[dict[str, Any] | None]()
        for path in paths:
            answer, _ = target.answer(Request("GET", path, "token", ACCOUNT, b""))
            assert answer is not None
            found.append(orjson.loads(answer.body)["data"].get("dialingStrategy", {}).get("callingHours"))
        if kinds is not None:
            assert {each and each["frequency"] for each in found} == kinds
            continue
        for each in found:
            assert each is not None
            assert each | {"days": [tuple(day.values()) for day in each["days"][:1]]} == written
    with pytest.raises(SettingsError, match="calling_hours is 'always'; give mixed, none, or "):
        service(calling_hours="always")


@pytest.mark.parametrize(
    ("segment", "campaign_id"),
    [("cd%2F1", "cd/1"), ("a%3Fb%23c", "a?b#c"), ("%E2%82%AC", "€"), ("100%25", "100%"), ("a+b", "a+b")],
)
async def test_id_is_one_decoded_segment(segment: str, campaign_id: str) -> None:
    """The campaign that is stopped is the one whose id the segment encodes."""
    async with Simulator(SimulatorOptions()) as sim:
        await send_raw(sim, raw_post(stop_path("voice", segment)))
        assert sim.states == {campaign_id: "Stopped"}


async def test_id_that_is_no_text_is_refused() -> None:
    """An id that encodes bytes that are not UTF-8 is answered 412 and stops nothing."""
    async with Simulator(SimulatorOptions()) as sim:
        answer = await send_raw(sim, raw_post(stop_path("voice", "%ff")))
        assert sim.states == {}
    assert answer.startswith(b"HTTP/1.1 412 ")


@pytest.mark.parametrize(
    ("old", "new"),
    [("trigger=stop", "trigger=play"), ("campaignType=voice", "campaignType=sms"), ("&trigger=stop", "")],
)
async def test_stop_with_another_query_is_refused(call: Caller, old: str, new: str) -> None:
    """A call whose query is not that of a stop of this type is answered 412 and stops nothing."""
    async with Simulator(SimulatorOptions()) as sim:
        status, _ = await call(sim, stop_path("voice", "cd-1").replace(old, new))
        assert (status, sim.states) == (412, {})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
async def test_body_must_be_an_object(call: Caller, body: bytes) -> None:
    """A call without a JSON object for a body is answered 412 and stops nothing."""
    async with Simulator(SimulatorOptions()) as sim:
        status, _ = await call(sim, stop_path("voice", "cd-1"), body)
        assert (status, sim.states) == (412, {})


async def test_account_must_be_the_same_in_both_places(call: Caller) -> None:
    """A header that names another account than the query is answered 412."""
    async with Simulator(SimulatorOptions()) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), accountid="other"))[0] == 412
        assert (await call(sim, stop_path("voice", "cd-1"), accountid=ACCOUNT))[0] == 200


async def test_only_post_is_allowed(call: Caller) -> None:
    """Any other method is answered 405 and stops nothing."""
    async with Simulator(SimulatorOptions()) as sim:
        status, _ = await call(sim, stop_path("voice", "cd-1"), method="GET")
        assert (status, sim.states) == (405, {})


# --- the state of campaigns


@type_names
async def test_second_stop_conflicts_by_default(call: Caller, kind: str) -> None:
    """A campaign is stopped once; the second stop is a 409 that says it is not active."""
    async with Simulator(SimulatorOptions()) as sim:
        assert await call.stop(sim, "cd-1", kind) == 200
        assert await call(sim, stop_path(kind, "cd-1")) == (
            409,
            {"status": "failure", "message": "Campaign is not active"},
        )


async def test_second_stop_may_succeed(call: Caller) -> None:
    """With `success` the second stop gets the answer of the first, word for word."""
    async with Simulator(SimulatorOptions(second_stop="success")) as sim:
        first = await call(sim, stop_path("voice", "cd-1"))
        assert await call(sim, stop_path("voice", "cd-1")) == first


async def test_stop_changes_status_and_time(call: Caller) -> None:
    """A stop changes the campaign's status to Stopped and its updatedAt to the time of the stop."""
    wall = Clock()
    async with Simulator(SimulatorOptions(), wall=wall) as sim:
        before = await call(sim, status_path("cd-1"))
        wall.at_s = 1.5
        await call.stop(sim, "cd-1")
        after = await call(sim, status_path("cd-1"))
        assert sim.campaigns["cd-1"].updated_at == "1970-01-01T00:00:01.500Z"
    assert before == (200, {"status": "success", "data": {"id": "cd-1", "status": "Active", "name": "cd-1"}})
    assert after == (200, {"status": "success", "data": {"id": "cd-1", "status": "Stopped", "name": "cd-1"}})


async def test_strict_service_knows_only_its_population(call: Caller) -> None:
    """With `not_found` an unknown id is answered 404 by every call, and stays unknown."""
    async with Simulator(SimulatorOptions(unknown="not_found", campaigns=3)) as sim:
        assert await call.stop(sim, "cd-1") == 404
        assert (await call(sim, status_path("cd-1")))[0] == 404
        assert (await call(sim, f"{V2}/schedule?enableSchedule=false&campaignName=none"))[0] == 404
        assert len(sim.states) == 3


async def test_population_is_stopped_by_type_and_status(call: Caller) -> None:
    """A generated campaign is unknown on the other type's path; one that does not run conflicts, any other stops."""
    async with Simulator(SimulatorOptions(campaigns=60)) as sim:
        before = sim.states
        for campaign in tuple(sim.campaigns.values()):
            right = str(campaign.campaign_type)
            wrong = "sms" if right == "voice" else "voice"
            at_rest = before[campaign.campaign_id] in ("Stopped", "Completed", "Ready")
            assert await call.stop(sim, campaign.campaign_id, wrong) == 404
            assert await call.stop(sim, campaign.campaign_id, right) == (409 if at_rest else 200)
    assert set(before.values()) >= {"Active", "Scheduled", "Stopped", "Completed", "Ready"}


def test_population_is_mixed() -> None:
    """A population holds both types, every status, every priority, and schedules with and without recurrence."""
    campaigns = service(campaigns=300).campaigns.by_id.values()
    assert {campaign.campaign_type for campaign in campaigns} == {"voice", "sms"}
    assert len({campaign.status for campaign in campaigns}) == 8
    assert {campaign.priority for campaign in campaigns} == {1, 2, 3, 4, 5}
    assert {(campaign.scheduled, campaign.recurring) for campaign in campaigns} == {
        (False, False),
        (True, False),
        (True, True),
    }


def test_population_depends_on_the_seed_alone() -> None:
    """The same seed gives the same campaigns, another seed others, and a larger population begins like a smaller."""
    first = list(service(campaigns=50, seed=7).campaigns.by_id.values())
    assert first == list(service(campaigns=80, seed=7).campaigns.by_id.values())[:50]
    assert first != list(service(campaigns=50, seed=8).campaigns.by_id.values())


async def test_schedule_is_disabled_by_name(call: Caller) -> None:
    """The schedule call takes a name, answers with the id, and leaves the campaign without a schedule."""
    async with Simulator(SimulatorOptions(campaigns=60)) as sim:
        campaign = next(campaign for campaign in sim.campaigns.values() if campaign.recurring)
        path = f"{V2}/schedule?enableSchedule=false&campaignName={campaign.name.replace(' ', '%20')}"
        status, answer = await call(sim, path, accountid=ACCOUNT)
        assert (status, answer["status"], answer["id"]) == (200, "success", campaign.campaign_id)
        assert (campaign.scheduled, campaign.recurring) == (False, False)
        assert (await call(sim, f"{V2}/schedule?enableSchedule=true&campaignName=x"))[0] == 412
        assert (await call(sim, f"{V2}/schedule?enableSchedule=false"))[0] == 412


async def test_unknown_name_is_a_new_campaign_where_any_id_exists(call: Caller) -> None:
    """By default an unknown name has a schedule to disable, always of the same campaign."""
    async with Simulator(SimulatorOptions()) as sim:
        first = await call(sim, f"{V2}/schedule?enableSchedule=false&campaignName=spring")
        assert await call(sim, f"{V2}/schedule?enableSchedule=false&campaignName=spring") == first
        assert (await call(sim, status_path(str(first[1]["id"]))))[1]["data"] == {
            "id": first[1]["id"],
            "status": "Active",
            "name": "spring",
        }


# --- the list call


async def read_pages(call: Caller, sim: Simulator, step: Callable[[int], dict[str, int]]) -> list[dict[str, object]]:
    """Read the voice list, seven a page, until a page says it is the last."""
    pages: list[dict[str, object]] = []
    while not pages or pages[-1]["hasMore"]:
        _, answer = await call(sim, LIST_PATH, {"limit": 7, "type": "voice", **step(len(pages))})
        data = answer["data"]
        assert isinstance(data, dict)
        pages.append(data)
    return pages


@pytest.mark.parametrize(
    "step",
    [
        lambda page: {"page": page + 1},
        lambda page: {"skip": page * 7},
        lambda page: {"skip": page * 7, "page": page + 1},
    ],
    ids=["page", "skip", "both"],
)
async def test_paging_loses_and_repeats_nothing(call: Caller, step: Callable[[int], dict[str, int]]) -> None:
    """The pages of 120 campaigns contain each campaign of the type once, with either paging field."""
    async with Simulator(SimulatorOptions(campaigns=120)) as sim:
        pages = await read_pages(call, sim, step)
        expected = [campaign.campaign_id for campaign in sim.campaigns.values() if campaign.campaign_type == "voice"]
    rows = [row for page in pages for row in page["results"]]  # type: ignore[attr-defined]
    assert [row["_id"] for row in rows] == expected[::-1]
    assert {page["totalResults"] for page in pages} == {len(expected)}
    assert {page["totalPages"] for page in pages} == {len(pages)}
    assert [page["skip"] for page in pages] == [number * 7 for number in range(len(pages))]


async def test_full_last_page_is_the_last(call: Caller) -> None:
    """A page that ends exactly where the list ends has no more after it; a page beyond it is empty."""
    async with Simulator(SimulatorOptions(campaigns=40)) as sim:
        total = sum(campaign.campaign_type == "sms" for campaign in sim.campaigns.values())
        for page, rows, more in ((1, total - 1, True), (1, total, False), (2, 0, False)):
            _, answer = await call(sim, LIST_PATH, {"type": "sms", "limit": rows or total, "page": page})
            data = answer["data"]
            assert (len(data["results"]), data["hasMore"]) == (rows, more)  # type: ignore[index]


async def test_rows_are_as_documented(call: Caller) -> None:
    """Voice rows have `_id` and a dialing mode, SMS rows `id` and what was sent; all have a priority and a schedule.

    Those that ran have a time of their instance.
    """
    async with Simulator(SimulatorOptions(campaigns=30)) as sim:
        rows = {}
        for kind in ("voice", "sms"):
            _, answer = await call(sim, LIST_PATH, {"type": kind})
            assert answer["status"] == "success"
            every = answer["data"]["results"]  # type: ignore[index]
            rows[kind] = next(row for row in every if row["status"] == "Active")
            assert {"campaignInstanceUpdatedAt" in row for row in every if row["status"] == "Ready"} <= {False}
    common = {"name", "status", "priority", "schedule", "createdAt", "updatedAt", "campaignInstanceUpdatedAt"}
    assert rows["voice"].keys() == common | {"_id", "dialingMode"}
    assert rows["sms"].keys() == common | {"id", "totalMessagesSent", "campaignExecutionType"}
    assert rows["sms"]["priority"] in tuple("12345")
    assert rows["voice"]["schedule"].keys() == {"isSchedulingEnabled", "isRecurrenceEnabled"}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"status": ["Active", "Paused"]}, lambda row: row["status"] in ("Active", "Paused")),
        ({"priority": [1, 2]}, lambda row: row["priority"] in ("1", "2")),
        ({"status": ["Active"], "priority": [5]}, lambda row: (row["status"], row["priority"]) == ("Active", "5")),
        ({"status": []}, lambda _: True),
    ],
)
async def test_filters_give_what_they_name(
    call: Caller, asked: dict[str, list[object]], wanted: Callable[[dict[str, object]], bool]
) -> None:
    """A filtered list holds all rows of the full list that fit the filters, and no other."""
    async with Simulator(SimulatorOptions(campaigns=200)) as sim:
        _, full = await call(sim, LIST_PATH, {"type": "sms", "limit": 500})
        _, part = await call(sim, LIST_PATH, {"type": "sms", "limit": 500, "filters": asked})
    rows = full["data"]["results"]  # type: ignore[index]
    assert part["data"]["results"] == [row for row in rows if wanted(row)]  # type: ignore[index]


async def test_campaigns_change_after_each_list_call(call: Caller) -> None:
    """After a list call the requested number of campaigns change status, the same ones for the same seed."""
    histories = []
    for _ in range(2):
        async with Simulator(SimulatorOptions(campaigns=100, seed=5, churn=8)) as sim:
            history = [sim.states]
            for body in ({"type": "voice"}, {"type": "fax"}, {"type": "sms"}):
                await call(sim, LIST_PATH, body)
                history.append(sim.states)
        histories.append(history)
    assert histories[0] == histories[1]
    changed = [
        sum(before[name] != after[name] for name in before)
        for before, after in zip(histories[0], histories[0][1:], strict=False)
    ]
    assert changed[1] == 0  # that call was refused
    assert 0 < changed[0] <= 8  # one that is stopped stays so
    assert 0 < changed[2] <= 8


async def test_list_shows_what_was_stopped(call: Caller) -> None:
    """A stop is seen by the next list call."""
    async with Simulator(SimulatorOptions()) as sim:
        await call.stop(sim, "cd-1", "sms")
        _, answer = await call(sim, LIST_PATH, {"type": "sms", "filters": {"status": ["Stopped"]}})
    assert [row["id"] for row in answer["data"]["results"]] == ["cd-1"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", None),
        ("type", "email"),
        ("limit", 0),
        ("limit", "5"),
        ("skip", -1),
        ("page", True),
        ("sortBy", {"createdAt": "asc"}),
        ("filters", {"status": "Active"}),
        ("filters", {"owner": ["x"]}),
        ("startDate", "2025-12-01"),
    ],
)
async def test_list_names_the_field_that_is_wrong(call: Caller, field: str, value: object) -> None:
    """A list call that makes no sense is answered 412, naming the field."""
    async with Simulator(SimulatorOptions()) as sim:
        status, answer = await call(sim, LIST_PATH, {"type": "voice", field: value})
    assert status == 412
    assert field in str(answer)


# --- tokens


def token(*, alg: str = "HS256", secret: str = SECRET, drop: str = "", **claims: object) -> str:
    """Sign the documented claims, with others added or one dropped."""
    payload = {"sub": "user", "appId": "cs-1"} | claims
    payload.pop(drop, None)
    return jwt.encode(payload, secret, alg)


def locked(**options: object) -> SimulatorOptions:
    """Return a service that verifies tokens."""
    return SimulatorOptions(client_id="cs-1", client_secret=SECRET, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "auth",
    [token(), token(alg="HS512"), token(exp=2000), token(iat=5000), token(jti="j", exp=1000 + 3600)],
    ids=["documented claims", "HS512", "unexpired", "iat is not judged", "jti"],
)
async def test_token_of_the_client_is_accepted(call: Caller, auth: str) -> None:
    """A token signed with the secret, with the claims of the documentation, opens every call."""
    async with Simulator(locked(), wall=lambda: 1000.0) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), auth=auth))[0] == 200


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ("", "missing"),
        ("rubbish", "invalid"),
        ("Bearer " + token(), "invalid"),
        (token(secret=SECRET[::-1]), "invalid"),
        (token(alg="HS384"), "invalid"),
        (jwt.encode({"sub": "user", "appId": "cs-1"}, "", "none"), "invalid"),
        (token()[:-3], "invalid"),
        (token(drop="appId", appid="cs-1"), "no appId"),
        (token(appId="cs-2"), "another appId"),
        (token(drop="sub"), "no sub"),
        (token(exp=1000), "expired"),
        (token(jti="j"), "1 hour"),
        (token(jti="j", exp=1000 + 3601), "1 hour"),
        (token(jti="", exp=2000), "jti"),
    ],
)
async def test_other_tokens_are_refused(call: Caller, auth: str, words: str) -> None:
    """A missing, foreign, expired or misspelt token is answered 401 with code 4002 and stops nothing."""
    async with Simulator(locked(), wall=lambda: 1000.0) as sim:
        status, answer = await call(sim, stop_path("voice", "cd-1"), auth=auth)
        assert (status, sim.states) == (401, {})
    assert answer.keys() == {"errors"}
    error = answer["errors"][0]  # type: ignore[index]
    assert error["code"] == 4002
    assert words in error["msg"]


async def test_token_with_a_jti_opens_once(call: Caller) -> None:
    """The second use of a token with a jti is a replay; a token with another jti is not."""
    async with Simulator(locked(), wall=lambda: 1000.0) as sim:
        first, other = token(jti="a", exp=1500), token(jti="b", exp=1500)
        assert (await call(sim, stop_path("voice", "cd-1"), auth=first))[0] == 200
        assert (await call(sim, stop_path("voice", "cd-2"), auth=other))[0] == 200
        status, answer = await call(sim, stop_path("voice", "cd-3"), auth=first)
    assert status == 401
    assert "possibly a replay" in str(answer)


async def test_jti_can_be_enforced(call: Caller) -> None:
    """An app that enforces jti refuses a token without one."""
    async with Simulator(locked(require_jti=True), wall=lambda: 1000.0) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), auth=token()))[0] == 401
        assert (await call(sim, stop_path("voice", "cd-1"), auth=token(jti="a", exp=1500)))[0] == 200


async def test_short_secret_is_no_concern_of_the_service(call: Caller) -> None:
    """A secret shorter than the algorithm would like is verified without a warning."""
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        auth = token(secret="short")
    async with Simulator(SimulatorOptions(client_secret="short")) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), auth=auth))[0] == 200


async def test_without_a_secret_any_token_will_do(call: Caller) -> None:
    """A service without a secret takes any token, but not none."""
    async with Simulator(SimulatorOptions()) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), auth="anything"))[0] == 200
        assert (await call(sim, stop_path("voice", "cd-1"), auth=""))[0] == 401


# --- quota


async def test_quota_holds_to_the_call_and_to_the_instant(call: Caller) -> None:
    """With 60 per 60 s the 61st call is throttled until exactly 60 s after the first."""
    clock = Clock()
    async with Simulator(SimulatorOptions(quota=((60, 60.0),)), now=clock) as sim:
        assert [await call.stop(sim, f"cd-{number}") for number in range(61)] == [200] * 60 + [429]
        clock.at_s = 59.999
        assert await call.stop(sim, "cd-60") == 429
        clock.at_s = 60.0
        assert [await call.stop(sim, f"cd-{number}") for number in range(60, 121)] == [200] * 60 + [429]


async def test_throttled_answer_is_as_asked_for(call: Caller) -> None:
    """A response over the limit has the documented text, the requested status, and optionally Retry-After."""
    for options, status, retry_after in (
        (SimulatorOptions(quota=((1, 60.0),)), 429, None),
        (SimulatorOptions(quota=((1, 60.0),), throttle_status=400, retry_after_s=7), 400, "7"),
    ):
        async with Simulator(options) as sim:
            await call.stop(sim, "cd-1")
            assert await call(sim, stop_path("voice", "cd-2")) == (status, {"errors": [{"msg": OVER_LIMIT}]})
            assert call.headers.get("Retry-After") == retry_after
            assert sim.states == {"cd-1": "Stopped"}


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("none", [None, None, None]),
        ("draft-6", [Allowance(1, 5.0, 2, 5.0), Allowance(0, 4.0, 2, 5.0), Allowance(0, 3.0, 2, 5.0)]),
        ("draft-7", [Allowance(1, 5.0, 2, 5.0), Allowance(0, 4.0, 2, 5.0), Allowance(0, 3.0, 2, 5.0)]),
        ("draft-8", [Allowance(1, 5.0, 2, 5.0), Allowance(0, 4.0, 2, 5.0), Allowance(0, 3.0, 2, 5.0)]),
        ("x-ratelimit", [Allowance(1, 5.0, 2), Allowance(0, 4.0, 2), Allowance(0, 3.0, 2)]),
    ],
)
async def test_answers_say_what_is_left(call: Caller, form: RateLimitHeaders, wanted: list[Allowance | None]) -> None:
    """Each response has the remaining calls and the reset, in the requested form, even when refused."""
    clock = Clock()
    async with Simulator(quota=((9, 60.0), (2, 5.0)), rate_limit_headers=form, now=clock) as sim:
        read = []
        for number, at_s in enumerate((0.0, 1.0, 2.5)):
            clock.at_s = at_s
            assert await call.stop(sim, f"cd-{number}") == (200 if number < 2 else 429)
            read.append(read_allowance(pick_rate_limit(call.headers.items())))
    assert read == wanted


async def test_quota_is_shared_by_the_calls_of_an_account_only(call: Caller) -> None:
    """Every call of an account counts, of any kind; another account has its own quota."""
    async with Simulator(SimulatorOptions(quota=((2, 60.0),)), now=Clock()) as sim:
        assert (await call(sim, LIST_PATH, {"type": "voice"}))[0] == 200
        assert (await call(sim, f"{V2}/schedule?enableSchedule=false&campaignName=a", accountid=ACCOUNT))[0] == 200
        assert await call.stop(sim, "cd-1") == 429
        assert (await call(sim, stop_path("voice", "cd-1", "other")))[0] == 200


async def test_refused_token_costs_no_quota(call: Caller) -> None:
    """A call that is not let in is not counted."""
    async with Simulator(SimulatorOptions(quota=((1, 60.0),)), now=Clock()) as sim:
        assert (await call(sim, stop_path("voice", "cd-1"), auth=""))[0] == 401
        assert await call.stop(sim, "cd-1") == 200


@given(
    gaps=st.lists(st.integers(0, 5), max_size=80),
    windows=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 20)), min_size=1, max_size=3),
)
def test_quota_admits_exactly_what_every_window_allows(gaps: Sequence[int], windows: Sequence[tuple[int, int]]) -> None:
    """A call is admitted if, and only if, with it no rolling window holds more calls than it allows."""
    quota = RollingQuota(tuple((calls, float(window_s)) for calls, window_s in windows))
    admitted: list[int] = []
    at_s = 0
    for gap in gaps:
        at_s += gap
        fits = all(sum(at_s - past < window_s for past in admitted) < calls for calls, window_s in windows)
        assert quota.admit(ACCOUNT, float(at_s)) is fits
        if fits:
            admitted.append(at_s)


# --- failures and latency


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_failure_rate_is_met(rate: float) -> None:
    """Of 4,000 calls the requested share fails, within three standard deviations."""
    target = service(failure_rate=rate, seed=3)
    answers = Counter(ask(target, stop_path("voice", f"cd-{number}")) for number in range(4000))
    assert answers.keys() == {200, 503}
    assert answers[503] / 4000 == pytest.approx(rate, abs=3 * (rate * (1 - rate) / 4000) ** 0.5)


def test_failures_depend_on_the_seed_not_on_the_order() -> None:
    """The same seed fails the same campaigns in any order; another seed fails others."""
    ids = [f"cd-{number}" for number in range(300)]
    shuffled = random.Random(1).sample(ids, len(ids))

    def failed(seed: int, order: Sequence[str]) -> set[str]:
        target = service(failure_rate=0.2, seed=seed)
        return {campaign_id for campaign_id in order if ask(target, stop_path("sms", campaign_id)) == 503}

    assert failed(1, ids) == failed(1, shuffled) != failed(2, ids)


def test_first_call_fails_for_a_share_of_the_campaigns() -> None:
    """The asked share of campaigns fails on the first call, and each of them succeeds on the second."""
    target = service(fail_first_rate=0.25, failure_status=500, seed=3)
    ids = [f"cd-{number}" for number in range(2000)]
    failed = [campaign_id for campaign_id in ids if ask(target, stop_path("voice", campaign_id)) == 500]
    assert len(failed) / 2000 == pytest.approx(0.25, abs=0.03)
    assert {ask(target, stop_path("voice", campaign_id)) for campaign_id in failed} == {200}


def test_every_first_call_can_fail() -> None:
    """With a share of 1 no campaign is stopped by its first call, each by its second."""
    target = service(fail_first_rate=1.0)
    for number in range(20):
        assert [ask(target, stop_path("sms", f"cd-{number}")) for _ in range(2)] == [503, 200]


async def test_failure_on_demand_changes_nothing(call: Caller) -> None:
    """A gateway's failure is a page of HTML, another one JSON; neither stops the campaign."""
    for status, words in ((503, "503 Service Unavailable"), (500, "failed on demand"), (429, "failed on demand")):
        async with Simulator(SimulatorOptions(failure_rate=1.0, failure_status=status)) as sim:
            answered, answer = await call(sim, stop_path("voice", "cd-1"))
            assert (answered, sim.states) == (status, {})
            assert words in str(answer)
            assert ("text/html" in call.headers["Content-Type"]) == (status == 503)


async def test_answer_takes_the_fixed_latency(call: Caller) -> None:
    """A response takes at least the requested latency."""
    async with Simulator(SimulatorOptions(latency_ms=40)) as sim:
        started = time.monotonic()
        await call.stop(sim, "cd-1")
        assert time.monotonic() - started >= 0.04


def test_latency_without_a_sigma_is_fixed() -> None:
    """Without a sigma every answer takes the same time."""
    assert {latency_s(80, 0, 1, number) for number in range(50)} == {0.08}


def test_latency_with_a_sigma_is_log_normal() -> None:
    """The logarithms of the draws have the median's logarithm for a mean and sigma for a deviation, seed by seed."""
    draws = [latency_s(80, 0.5, 1, number) for number in range(5000)]
    assert statistics.median(draws) == pytest.approx(0.08, rel=0.03)
    assert statistics.stdev(map(math.log, draws)) == pytest.approx(0.5, rel=0.05)
    assert draws == [latency_s(80, 0.5, 1, number) for number in range(5000)]
    assert draws != [latency_s(80, 0.5, 2, number) for number in range(5000)]


# --- the log


async def test_log_holds_every_request(call: Caller, tmp_path: Path) -> None:
    """Each of 200 concurrent requests has one line with its time, path, account, id, status and attempt."""
    log = tmp_path / "log"
    ids = [f"cd-{number % 100}" for number in range(200)]
    async with Simulator(SimulatorOptions(log=log)) as sim:
        before = time.time(), time.monotonic()
        statuses = await asyncio.gather(*(call.stop(sim, campaign_id) for campaign_id in ids))
        kept = list(sim.requests)
    lines = read_log(log)
    assert [Exchange(**line) for line in lines] == kept  # type: ignore[arg-type]
    assert Counter(line["status"] for line in lines) == Counter(statuses) == {200: 100, 409: 100}
    assert Counter((line["campaign_id"], line["attempt"]) for line in lines).most_common(1)[0][1] == 1
    assert {line["path"] for line in lines} == {stop_path("voice", campaign_id) for campaign_id in ids}
    assert {(line["method"], line["operation"], line["account_id"]) for line in lines} == {("POST", "stop", ACCOUNT)}
    assert all(before[0] <= line["arrived_unix_s"] <= time.time() for line in lines)  # type: ignore[operator]
    monotonic = [line["arrived_monotonic_s"] for line in lines]
    assert before[1] <= monotonic[0] <= monotonic[-1] <= time.monotonic()  # type: ignore[operator]
    assert monotonic == sorted(monotonic)  # type: ignore[type-var]


async def test_attempts_are_counted_by_id_and_operation(call: Caller) -> None:
    """The attempt counts the calls of one kind for one campaign, throttled ones included."""
    async with Simulator(SimulatorOptions(quota=((2, 60.0),))) as sim:
        await call(sim, status_path("cd-1"))
        for _ in range(3):
            await call.stop(sim, "cd-1")
        seen = [(line.operation, line.attempt, line.status) for line in sim.requests]
    stop = Operation.STOP
    assert seen == [(Operation.STATUS, 1, 200), (stop, 1, 200), (stop, 2, 429), (stop, 3, 429)]


async def test_log_is_appended_to(call: Caller, tmp_path: Path) -> None:
    """A second simulator with the same log adds to it."""
    log = tmp_path / "log"
    for campaign_id in ("cd-1", "cd-2"):
        async with Simulator(SimulatorOptions(log=log)) as sim:
            await call.stop(sim, campaign_id)
    assert [line["campaign_id"] for line in read_log(log)] == ["cd-1", "cd-2"]


async def test_request_that_was_cut_short_is_logged() -> None:
    """A caller that leaves within a body leaves a line without a status, and nothing is stopped."""
    wall = Arrivals()
    async with Simulator(SimulatorOptions(), wall=wall) as sim:
        host, port = sim.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw_post(stop_path("voice", "cd-1"))[:-1])
        await writer.drain()
        writer.close()
        await asyncio.wait_for(wall.arrived.wait(), 10)
        assert [(line.campaign_id, line.status) for line in sim.requests] == [("cd-1", None)]
        assert sim.states == {}


async def test_body_that_is_too_large_is_logged() -> None:
    """A body over the cap is answered 413, logged, and stops nothing."""
    size = 1024**2 + 1
    request = raw_post(stop_path("voice", "cd-1")).replace(b"Content-Length: 2", f"Content-Length: {size}".encode())
    async with Simulator(SimulatorOptions()) as sim:
        answer = await send_raw(sim, request.ljust(len(request) - 2 + size))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert ([line.status for line in sim.requests], sim.states) == ([413], {})


async def test_log_that_nobody_reads(call: Caller, tmp_path: Path) -> None:
    """An unread pipe delays the calls to be logged, but neither the event loop nor the end."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    async with Simulator(SimulatorOptions(log=tmp_path / "log")) as sim:
        calls = [asyncio.ensure_future(call(sim, f"{V2}/{number}/status")) for number in range(60)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED, timeout=20)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {isinstance(each, Exception) for each in answers} == {True, False}
    os.close(reader)


async def test_log_that_cannot_be_written_is_loud(call: Caller) -> None:
    """Once a line cannot be written, calls get a 500, so that an incomplete log is never mistaken for a whole one."""
    async with Simulator(SimulatorOptions(log=Path("/dev/full"))) as sim:
        status, answer = await call(sim, stop_path("voice", "cd-1"))
    assert status == 500
    assert "log" in str(answer)


SERVER = """
import asyncio, sys
from pathlib import Path
from bulkstop.simulator import Simulator, serve

simulator = Simulator(log=Path(sys.argv[1]))
asyncio.run(serve(simulator, ready=lambda url: print(url, flush=True), stop=asyncio.Event()))
"""


def test_killed_simulator_leaves_a_complete_log(tmp_path: Path) -> None:
    """Answered requests are completely logged, even if the process is killed right after the response."""
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", SERVER, str(log)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        for number in range(20):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(raw_post(stop_path("voice", f"cd-{number}")))
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        process.kill()
    assert [line["campaign_id"] for line in read_log(log)] == [f"cd-{number}" for number in range(20)]
    assert log.read_bytes().endswith(b"\n")


# --- the server


async def test_bytes_that_are_no_http_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Rubbish is answered 400 and said in one line without a traceback and without the rubbish."""
    async with Simulator(SimulatorOptions()) as sim:
        answer = await send_raw(sim, b"POST / HTTP/1.1\r\nauth secret\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)]
    assert "secret" not in caplog.text


async def test_body_that_cannot_be_decoded_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A body that is not what its headers say is answered 400, logged, and said without a traceback."""
    request = raw_post(stop_path("voice", "cd-1")).replace(b"iid:", b"Content-Encoding: gzip\r\niid:")
    async with Simulator(SimulatorOptions()) as sim:
        answer = await send_raw(sim, request)
        assert ([line.status for line in sim.requests], sim.states) == ([400], {})
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [record.exc_info for record in caplog.records] == [None]


async def test_account_that_is_no_text_leaves_a_readable_line(tmp_path: Path) -> None:
    """A header of bytes that are not UTF-8 does not break the log."""
    log = tmp_path / "log"
    request = raw_post(stop_path("voice", "cd-1").replace(f"accountId={ACCOUNT}&", ""))
    async with Simulator(SimulatorOptions(log=log)) as sim:
        await send_raw(sim, request.replace(ACCOUNT.encode(), b"\xff"))
    assert [line["account_id"] for line in read_log(log)] == ["\\xff"]


async def test_serve_tells_its_url_and_ends_when_told(call: Caller) -> None:
    """`serve` listens when it is ready, on a free port, and is gone once stopped."""
    stop, urls = asyncio.Event(), asyncio.Queue[str]()
    serving = asyncio.create_task(serve(Simulator(), ready=urls.put_nowait, stop=stop))
    host, port = (await urls.get()).removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    stop.set()
    await asyncio.wait_for(serving, 10)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_leaving_does_not_wait_for_slow_answers(tmp_path: Path) -> None:
    """A simulator with an outstanding response ends at once; requests that took effect are in the log."""
    log = tmp_path / "log"
    wall = Arrivals()
    async with asyncio.timeout(10):
        async with Simulator(SimulatorOptions(latency_ms=600_000, log=log), wall=wall) as sim:
            waiting = asyncio.create_task(send_raw(sim, raw_post(stop_path("voice", "cd-1"))))
            await wall.arrived.wait()
        assert await waiting == b""
    assert sim.states == {"cd-1": "Stopped"}
    assert [line["status"] for line in read_log(log)] == [200]


async def test_port_in_use_is_named() -> None:
    """A port that is taken is one error that names it and the reason."""
    async with Simulator(SimulatorOptions()) as sim:
        port = int(sim.url.rpartition(":")[2])
        with pytest.raises(SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use; give"):
            await Simulator(SimulatorOptions(port=port)).__aenter__()


async def test_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A log in a directory that is not there is one error that names the file."""
    log = tmp_path / "none" / "log"
    with pytest.raises(OutputError, match=str(log)):
        await Simulator(SimulatorOptions(log=log)).__aenter__()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("failure_rate", 1.5),
        ("failure_rate", float("nan")),
        ("fail_first_rate", -0.1),
        ("failure_status", 99),
        ("throttle_status", 600),
        ("latency_ms", -1),
        ("latency_sigma", -1),
        ("campaigns", -1),
        ("churn", -1),
        ("accounts", -1),
        ("streams", 0),
        ("running", 1),
        ("slow", {"a1": -1}),
        ("port", 70_000),
        ("retry_after_s", -1),
        ("quota", ((0, 60.0),)),
        ("quota", ((60, 0.0),)),
        ("second_stop", "maybe"),
        ("unknown", "maybe"),
        ("client_secret", ""),
        ("client_id", "cs-1"),
        ("require_jti", True),
    ],
)
def test_option_that_makes_no_sense_is_named(option: str, value: object) -> None:
    """A value out of its range is one error that names the option."""
    with pytest.raises(SettingsError, match=option):
        SimulatorOptions(**{option: value})  # type: ignore[arg-type]


def test_secret_is_not_shown() -> None:
    """The options can be printed without giving the secret away."""
    assert SECRET not in repr(SimulatorOptions(client_secret=SECRET, apps=[App("cs-1", SECRET)]))


@pytest.mark.parametrize(
    ("faults", "match"),
    [
        ({"failure_rat": 0.5}, r"^failure_rat is not an option of the simulator; did you mean failure_rate\?$"),
        ({"zz": 1}, r"^zz is not an option of the simulator; it has host, port, "),
        ({"campaigns": "10"}, r"^campaigns is of type str; give int$"),
        ({"campaigns": 2.5}, r"^campaigns is of type float; give int$"),
        ({"churn": True}, r"^churn is of type bool; give int$"),
        ({"failure_rate": None}, r"^failure_rate is of type NoneType; give int \| float$"),
        ({"require_jti": 1}, r"^require_jti is of type int; give bool$"),
        ({"client_secret": b"secret"}, r"^client_secret is of type bytes; give str \| None$"),
        ({"log": 5}, r"^log is of type int; give str \| Path \| None$"),
        ({"second_stop": ["conflict"]}, r"^second_stop is \['conflict'\]; give conflict or success$"),
        ({"quota": "60/60s"}, r"^quota: give limits .* such as Limit\(60, 60\)$"),
        ({"quota": 5}, "^quota: "),
        ({"apps": ["cs-1"]}, r"^apps: give a list of App$"),
        ({"refused": "account-01"}, r"^refused: give a list of str$"),
        ({"slow": "account-01"}, r"^slow is of type str; give Mapping$"),
        ({"quota": [(1, "a")]}, "^quota: "),
        ({"options": 10}, r"takes its options by name, such as Simulator\(campaigns=10\)$"),
    ],
)
def test_wrong_option_of_a_simulator(faults: dict[str, Any], match: str) -> None:
    """An option that there is not, or of another type, is one error that says what there is."""
    with pytest.raises(SettingsError, match=match):
        Simulator(**faults)


def test_keywords_are_the_options() -> None:
    """The keywords of a simulator are its options, each with a default of an accepted type."""
    assert list(Faults.__annotations__) == [each.name for each in fields(SimulatorOptions)]
    assert (
        Simulator(SimulatorOptions(campaigns=3), seed=7).states.keys() == Simulator(campaigns=3, seed=7).states.keys()
    )
    for quota in (Limit(2, 60), [Limit(2, 60)], ((2, 60),), iter([(2, 60.0)])):
        assert SimulatorOptions(quota=quota).windows == ((2, 60),)


def left_over() -> tuple[set[threading.Thread], set[str]]:
    """Return the threads and the open sockets of this process."""
    links = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    return set(threading.enumerate()), {link for link in links if link.startswith("socket:")}


def post_a_stop(sim: Simulator) -> int:
    """Stop a campaign without an event loop; return the status."""
    request = UrlRequest(f"{sim.url}{stop_path('voice', 'cd-1')}", b"{}", AUTH, method="POST")
    with urlopen(request) as response:
        return int(response.status)


def use_in_thread(faults: Faults | None = None, error: Exception | None = None) -> None:
    """Stop a campaign of a simulator in a thread, then raise the error."""
    with Simulator(**(faults or {})) as sim:
        assert post_a_stop(sim) == 200
        assert (sim.states, len(sim.requests)) == ({"cd-1": "Stopped"}, 1)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [None, RuntimeError("within")])
def test_simulator_in_a_thread(error: Exception | None) -> None:
    """Plain `with` serves a caller without an event loop, and leaves nothing behind, even after an error."""
    before = left_over()
    with nullcontext() if error is None else pytest.raises(RuntimeError, match="within"):
        use_in_thread(error=error)
    assert left_over() == before


@pytest.mark.parametrize("error", [None, RuntimeError("within")])
async def test_simulator_beside_a_running_loop(error: Exception | None) -> None:
    """Plain `with` works in the thread of a running event loop too, and leaves no task in it."""
    before = left_over(), asyncio.all_tasks()
    with nullcontext() if error is None else pytest.raises(RuntimeError, match="within"):
        use_in_thread(error=error)
    assert (left_over(), asyncio.all_tasks()) == before


def test_simulator_that_cannot_listen() -> None:
    """An error that prevents listening or logging is raised on entry, and leaves nothing."""
    with Simulator() as sim:
        before = left_over()
        with (
            pytest.raises(SettingsError, match="Address already in use"),
            Simulator(port=int(sim.url.rpartition(":")[2])),
        ):
            pass
        with pytest.raises(OutputError, match="cannot write the request log"), Simulator(log="/no/such/folder"):
            pass
        assert left_over() == before


async def test_one_block_at_a_time() -> None:
    """A simulator that listens cannot be entered again, by either way; one that has ended can."""
    sim = Simulator()
    with sim:
        url = sim.url
        with pytest.raises(SettingsError, match=f"listens at {url} already"):
            sim.__enter__()
        with pytest.raises(SettingsError, match="already"):
            await sim.__aenter__()
    async with sim:
        async with ClientSession() as session:
            assert (await session.post(f"{sim.url}{stop_path('voice', 'cd-1')}", json={}, headers=AUTH)).status == 200
        with pytest.raises(SettingsError, match="already"):
            sim.__enter__()


def test_calls_in_flight_end_with_the_thread() -> None:
    """A call that waits for its answer is cut off when the block ends, and the thread ends with it."""
    before = left_over()
    sim = Simulator(latency_ms=600_000)
    with sim, socket.create_connection(("127.0.0.1", int(sim.url.rpartition(":")[2]))) as caller:
        caller.sendall(raw_post(stop_path("voice", "cd-1")))
        while not sim.requests:
            threading.Event().wait(0.001)
    assert sim.states == {"cd-1": "Stopped"}
    assert left_over() == before


CONTACTS_PATH = f"/agentassist/api/public/analytics/account/{ACCOUNT}/v2/interactionDetails"
CONTACTS = {
    "startDate": "2026-02-16 10:00:00",
    "endDate": "2026-02-16 18:00:00",
    "timeZoneOffset": 0,
    "direction": "Outbound",
    "selectedFields": ["campaigninfo"],
}
EIGHTEEN_S = 1771264800.0


async def test_contacts(call: Caller) -> None:
    """A running campaign makes contacts, the newest come first, and those of a stopped one end when they are to."""
    clock = Clock()
    clock.at_s = EIGHTEEN_S - 600
    async with Simulator(contacts_per_minute=6, contacts_after_stop_s=60, wall=clock) as sim:
        await call.stop(sim, "cd-1", "voice")
        clock.at_s = EIGHTEEN_S
        _, first = await call(sim, CONTACTS_PATH, CONTACTS)
        _, fourth = await call(sim, f"{CONTACTS_PATH}?offset=3&limit=100", CONTACTS)
        _, local = await call(sim, CONTACTS_PATH, CONTACTS | {"timeZoneOffset": -330, "endDate": "2026-02-16 23:30:00"})
    rows: Any = first["data"]
    starts = [row["sessionStartTime"] for row in rows]
    assert (first["numResults"], len(rows), starts) == (100, 100, sorted(starts, reverse=True))
    assert "2026-02-16T17:50:50" <= starts[0] < "2026-02-16T17:51:00"
    assert rows[0]["campaigninfo"]["campaignId"] == "cd-1"
    assert fourth["numResults"] == 366 - 300
    assert local["data"][0]["sessionStartTime"].startswith("2026-02-16T23:20:5")  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ({"timeZoneOffset": None}, ""),
        ({"startDate": "yesterday"}, ""),
        ({"startDate": "2026-02-01 00:00:00"}, ""),
        ({}, "?offset=11"),
        ({}, "?limit=101"),
    ],
)
async def test_contacts_that_cannot_be_asked_for(call: Caller, body: dict[str, object], query: str) -> None:
    """A call for contacts that is not as documented is refused."""
    async with Simulator() as sim:
        status, _ = await call(sim, CONTACTS_PATH + query, CONTACTS | body)
    assert status == 412


async def test_no_scope_for_contacts(call: Caller) -> None:
    """An app without the scope is refused contacts, and nothing else."""
    async with Simulator(analytics=False, campaigns=5) as sim:
        assert (await call(sim, CONTACTS_PATH, CONTACTS))[0] == 401
        assert (await call(sim, LIST_PATH, {"type": "voice"}))[0] == 200


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_one_campaign(call: Caller, api: Any) -> None:
    """A GET gives a campaign as the list has it, at the path of the version alone."""
    paths = {"v1": f"/agentassist/api/v1/public/{STREAM}/campaign", "v2": V2}
    async with Simulator(campaigns=5, api=api, unknown="not_found") as sim:
        name = next(iter(sim.campaigns))
        status, answer = await call(sim, f"{paths.pop(api)}/{name}", method="GET")
        (other,) = paths.values()
        assert (await call(sim, f"{other}/{name}", method="GET"))[0] == 404
    assert status == 200
    assert name in answer["data"].values()  # type: ignore[attr-defined]


NORTH = App("north", SECRET, ("account-01", "b-*"))
SOUTH = App("south", f"{SECRET} of the other", ("account-02",))


def token_of(app: App) -> str:
    """Sign a token as an app does."""
    return jwt.encode({"sub": "u1", "appId": app.client_id}, app.client_secret, "HS256")


def list_path(place: Place) -> str:
    """Write the path of the list of a stream."""
    return f"/campaign/api/v2/public/{place.stream_id}/campaign/getAllCampaignDetails?accountId={place.account_id}"


@pytest.mark.parametrize(
    ("app", "account_id", "status"),
    [
        (NORTH, "account-01", 200),
        (NORTH, "b-7", 200),
        (NORTH, "account-02", 401),
        (SOUTH, "account-02", 200),
        (SOUTH, "account-01", 401),
        (App("south", SECRET), "account-02", 401),
        (App("north", SECRET[::-1]), "account-01", 401),
    ],
)
async def test_apps_call_for_their_accounts_alone(call: Caller, app: App, account_id: str, status: int) -> None:
    """A token of another app, or signed with the secret of another, is refused, and costs the account no call."""
    async with Simulator(apps=[NORTH, SOUTH], quota=Limit(1, 60)) as sim:
        path = list_path(Place(account_id, "st-1"))
        got = [(await call(sim, path, {"type": "sms"}, auth=token_of(each)))[0] for each in (app, NORTH, SOUTH)]
    assert got[0] == status
    assert sorted(got[1:]) == ([200, 401] if status == 401 else [401, 429])


async def test_campaigns_of_accounts_and_streams(call: Caller) -> None:
    """Each campaign is in one stream of one account: in its list, and to be stopped or looked at there alone."""
    async with Simulator(campaigns=60, accounts=2, streams=3, running=12, unknown="not_found") as sim:
        places = Population(accounts=2, streams=3).list_places()
        assert places[1] == Place("account-02", "stream-02-1")
        lists: dict[Place, list[str]] = {place: [] for place in places}
        for place in places:
            for kind in ("voice", "sms"):
                _, answer = await call(sim, list_path(place), {"type": kind})
                data: Any = answer["data"]
                lists[place] += [row.get("_id") or row["id"] for row in data["results"]]
        assert [len(ids) for ids in lists.values()] == [10] * 6
        assert {each for ids in lists.values() for each in ids} == sim.campaigns.keys()
        assert sum(each.status in ("Active", "Preparing") for each in sim.campaigns.values()) == 12
        (campaign_id, *_), other = lists[places[0]], places[1]
        paths = [f"/campaign/api/v2/public/{each.stream_id}/campaign/{campaign_id}" for each in (places[0], other)]
        found = [
            (await call(sim, f"{path}?accountId={each.account_id}", method="GET"))[0]
            for path, each in zip(paths, (places[0], other), strict=True)
        ]
        assert found == [200, 404]
        assert (await call(sim, list_path(Place("account-01", "stream-02-1")), {"type": "sms"}))[0] == 401


async def test_emergencies_and_a_status_nobody_documented(call: Caller) -> None:
    """One SMS campaign of each account runs as an emergency, which its stop says too; some have the other status."""
    options: Faults = {"campaigns": 80, "accounts": 4, "emergency": True, "other_status": "Rerun", "churn": 80}
    async with Simulator(**options) as sim:
        urgent = [each for each in sim.campaigns.values() if each.execution_type != "NORMAL"]
        assert [(each.execution_type, each.status) for each in urgent] == [("EMERGENCY", "Active")] * 4
        assert len({each.place for each in urgent}) == 4
        assert "Rerun" in sim.states.values()
        place = urgent[0].place
        assert place is not None
        path = f"/campaign/api/v2/public/{place.stream_id}/campaign//trigger/{urgent[0].campaign_id}"
        _, stopped = await call(sim, f"{path}?accountId={place.account_id}&campaignType=sms&trigger=stop")
        assert stopped["campaignExecutionType"] == "EMERGENCY"
        assert (await call(sim, list_path(place), {"type": "sms"}))[0] == 200  # and what changes has somewhere to go


async def test_an_account_that_refuses_and_one_that_is_slow(call: Caller) -> None:
    """Lists of an account may be refused, but not its stops; the calls of another may take their time."""
    async with Simulator(accounts=3, refused=["account-02"], slow={"account-03": 60}) as sim:
        places = Population(accounts=3).list_places()
        assert [(await call(sim, list_path(place), {"type": "sms"}))[0] for place in places] == [200, 403, 200]
        path = stop_path("voice", "cd-1", "account-02").replace(STREAM, "stream-02-1")
        assert (await call(sim, path))[0] == 200
        target = service(accounts=3, slow={"account-03": 60})
        taken = [target.latency_s(replace(sim.requests[0], account_id=each.account_id)) for each in places]
    assert taken == [0, 0, 0.06]


async def test_contacts_of_an_account(call: Caller) -> None:
    """Contacts are only those of the requested application."""
    clock = Clock()
    clock.at_s = EIGHTEEN_S
    async with Simulator(campaigns=60, accounts=2, contacts_per_minute=1, wall=clock) as sim:
        path = "/agentassist/api/public/analytics/account/account-02/v2/interactionDetails"
        _, answer = await call(sim, path, CONTACTS, accountid="account-02", iid="stream-02-1")
        assert (await call(sim, path, CONTACTS, accountid="account-02", iid="stream-01-1"))[0] == 401
        rows: Any = answer["data"]
        contacted = {sim.campaigns[row["campaigninfo"]["campaignId"]].place for row in rows}
    assert contacted == {Place("account-02", "stream-02-1")}
