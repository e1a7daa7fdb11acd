"""The other services of an engine, at a simulator: it lists, verifies and loads, with its hooks."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import pytest

from bulkstop.errors import BulkstopError, CredentialsError, InputError, NotDoneError, SettingsError
from bulkstop.kore.exchange import Response, TransportFailure
from bulkstop.kore.wire.transport import WireTransport
from bulkstop.model import Attempt, Campaign, CampaignType, Outcome, Send, State
from bulkstop.runs.engine import Engine
from bulkstop.settings import Settings
from bulkstop.simulator.options import SimulatorOptions
from bulkstop.simulator.server import Simulator

pytestmark = pytest.mark.real


CAMPAIGN = Campaign.of_row("cd-1", CampaignType.VOICE, "a1", "st-1", "st-1", "here", 1)


def settings(service: Simulator, **more: Any) -> Settings:
    """Make the settings that reach a service."""
    return Settings(**{"host": service.url, "token": "any", "account_id": "a1", "stream_id": "st-1", **more})


@pytest.fixture
async def service() -> AsyncIterator[Simulator]:
    """Have a service with campaigns."""
    async with Simulator(SimulatorOptions(campaigns=20)) as simulator:
        yield simulator


@pytest.fixture
async def engine(service: Simulator) -> AsyncIterator[Engine]:
    """Have an engine that reaches it."""
    async with Engine(settings(service)) as opened:
        yield opened


def running(service: Simulator, *statuses: str) -> set[str]:
    """Return the ids of the campaigns in one of the states."""
    return {campaign_id for campaign_id, status in service.states.items() if status in statuses}


class TestDiscover:
    """The running campaigns as a source."""

    async def test_what_runs(self, engine: Engine, service: Simulator) -> None:
        """By default, the running campaigns of both types, ready to be stopped, with the facts of their impact."""
        campaigns = [campaign async for campaign in engine.discover()]
        assert {each.campaign_id for each in campaigns} == running(service, "Active", "Preparing")
        assert {(each.row or {})["execution_type"] for each in campaigns} == {"NORMAL", None}
        assert {(each.row or {})["status"] for each in campaigns} == {"Active", "Preparing"}
        assert {each.campaign_type for each in campaigns} == set(CampaignType)
        assert {(each.account_id, each.stream_id) for each in campaigns} == {("a1", "st-1")}

    async def test_texts_and_values(self, engine: Engine, service: Simulator) -> None:
        """A filter is a text of the command line, or what it lists."""
        for wanted in ({"types": "sms", "statuses": "active,Scheduled"}, {"types": [CampaignType.SMS], "statuses": ()}):
            campaigns = [campaign async for campaign in engine.discover(**wanted)]
            assert {each.campaign_type for each in campaigns} == {CampaignType.SMS}
            assert len({each.campaign_id for each in campaigns} - running(service, "Active")) > 0
        highest: list[tuple[str | int | list[int], set[int]]] = [([1, 2], {1, 2}), (1, {1}), ("1", {1})]
        for priorities, found in highest:
            some = [each.priority async for each in engine.discover(statuses="", priorities=priorities)]
            assert set(some) == found

    async def test_type_of_the_settings(self, service: Simulator) -> None:
        """Settings with a type mean that one."""
        async with Engine(settings(service, type=CampaignType.SMS)) as engine:
            assert {each.campaign_type async for each in engine.discover()} == {CampaignType.SMS}

    @pytest.mark.parametrize(
        "wanted",
        [
            {"types": "fax"},
            {"types": ["voice", 5]},
            {"types": 5},
            {"priorities": "9"},
            {"priorities": None},
            {"priorities": True},
            {"statuses": "a,,b"},
            {"statuses": None},
            {"statuses": b"Active"},
            {"statuses": [b"Active"]},
        ],
    )
    async def test_no_filter(self, engine: Engine, wanted: dict[str, Any]) -> None:
        """An invalid filter is a SettingsError that names it."""
        with pytest.raises(SettingsError, match=f"^{next(iter(wanted))}: "):
            await anext(engine.discover(**wanted))

    async def test_no_list(self, service: Simulator) -> None:
        """The error that prevents the list is raised unchanged."""

        async def no_token() -> str:
            raise CredentialsError("the vault is closed")

        async with Engine(settings(service), token=no_token) as engine:
            with pytest.raises(CredentialsError, match="the vault is closed"):
                await anext(engine.discover())


class TestVerify:
    """What still runs of any source."""

    async def test_after_a_run(self, engine: Engine, service: Simulator, tmp_path: Path) -> None:
        """Discovered, stopped and recorded campaigns are proven not to run."""
        results = tmp_path / "r.jsonl"
        await engine.run(engine.discover(), output=results)
        verification = await engine.verify(results)
        verification.check()
        assert verification.outcomes == {State.NOT_RUNNING: len(results.read_text().splitlines())}
        assert (await engine.verify([results])).is_done

    async def test_what_was_never_stopped(self, engine: Engine, service: Simulator, tmp_path: Path) -> None:
        """A list, ids and campaigns are looked at as well; what runs is named and counted."""
        (campaign_id, *_) = sorted(running(service, "Active"))
        (found,) = [each async for each in engine.discover() if each.campaign_id == campaign_id]
        path = tmp_path / "list.csv"
        path.write_text(f"campaign_id,type\n{campaign_id},{found.campaign_type}\n")
        for source in (path, [found], engine.discover()):
            verification = await engine.verify(source)
            assert campaign_id in {each.item.campaign_id for each in verification.findings}
            with pytest.raises(NotDoneError, match=r"^not all is done: \d+ running"):
                verification.check()

    async def test_rows_that_name_nothing(self, engine: Engine, tmp_path: Path) -> None:
        """An unusable row is no proof, and is listed with its place; repeated campaigns count once."""
        path = tmp_path / "list.csv"
        path.write_text("campaign_id,type\ncd-1,voice\ncd-1,voice\n,voice\n")
        verification = await engine.verify(path)
        assert (verification.campaigns, verification.invalid) == (1, 1)
        assert [(row.source, row.line) for row in verification.unread] == [(str(path), 4)]
        assert not verification.is_done

    @pytest.mark.parametrize("source", [[], "nowhere.csv"])
    async def test_no_source(self, engine: Engine, source: Any) -> None:
        """An empty source is refused before any call."""
        with pytest.raises(InputError):
            await engine.verify(source)

    async def test_fault(self, service: Simulator) -> None:
        """The error that ends the reading is in the summary, and is raised by its check."""

        async def no_token() -> str:
            raise CredentialsError("the vault is closed")

        async with Engine(settings(service, type=CampaignType.VOICE), token=no_token) as engine:
            verification = await engine.verify([CAMPAIGN])
        assert verification.exit_code == 3
        with pytest.raises(CredentialsError, match="the vault is closed"):
            verification.check()


class Recorded:
    """A transport that notes what it carries over another."""

    def __init__(self, host: str) -> None:
        self.opened = 0
        self.targets: list[str] = []
        self._wire = WireTransport(host, timeout_s=10, connect_timeout_s=10, connections=10)

    async def __aenter__(self) -> Self:
        """Open the other."""
        self.opened += 1
        await self._wire.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Close the other."""
        await self._wire.__aexit__(*error)

    async def post(self, target: str, *args: Any) -> Response | TransportFailure:
        """Note it."""
        self.targets.append(target)
        return await self._wire.post(target, *args)


PATIENT = "60s"
"""Options that tolerate a busy machine's delays, which these tests are not about."""


class TestLoad:
    """A load test: texts in, a summary out."""

    async def test_made_up(self, engine: Engine, service: Simulator) -> None:
        """Requests are sent when due, for made-up campaigns; the summary is what `--json` prints."""
        summary = await engine.load(rate="100/s", duration="200ms", require=["p99<60s", "errors<1%"], max_late=PATIENT)
        summary.check()
        assert summary.outcomes == {Outcome.STOPPED: 20}
        assert len(service.requests) == 20
        told = summary.as_dict()
        assert json.loads(json.dumps(told)) == told
        assert [each["require"] for each in told["required"]] == ["p99<60s", "errors<1%"]

    async def test_source(self, engine: Engine, service: Simulator) -> None:
        """A source's campaigns are sent in their order, again and again; numbers do as well as texts."""
        ids = sorted(running(service, "Active"))[:2]
        rows = [Campaign.of_row(each, CampaignType.VOICE, "a1", "st-1", "st-1", "here", 1) for each in ids]
        summary = await engine.load(rows, rate=100, count=5, max_in_flight=1, max_late=PATIENT)
        assert summary.metrics.requests == 5
        assert [each.campaign_id for each in service.requests] == [*ids, *ids, ids[0]]

    async def test_not_held(self, engine: Engine) -> None:
        """A requirement that did not hold is raised."""
        summary = await engine.load(closed=True, count=3, require="max<1us")
        with pytest.raises(NotDoneError, match=r"^not all is done: 3 stopped; max<1us: FAILED"):
            summary.check()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"rate": "fast"}, "^rate: "),
            ({"rate": 10, "duration": 0}, "^duration: "),
            ({"rate": 10, "count": "some"}, "^count: "),
            ({"rate": 10, "count": 1, "require": "p99"}, "^require: "),
            ({"rate": 10}, "neither is given"),
            ({}, "give one of"),
        ],
    )
    async def test_wrong_options(self, engine: Engine, service: Simulator, options: dict[str, Any], words: str) -> None:
        """An invalid load is a SettingsError before anything is sent."""
        with pytest.raises(SettingsError, match=words):
            await engine.load(**options)
        assert not service.requests

    async def test_empty_source(self, engine: Engine) -> None:
        """A source without a campaign that can be sent is refused."""
        with pytest.raises(InputError, match="holds no campaign"):
            await engine.load([], rate=10)

    async def test_vendor(self) -> None:
        """The vendor's own hosts are never loaded by mistake."""
        async with Engine(Settings(host="platform.kore.ai", token="t", account_id="a", stream_id="s")) as engine:
            for allowed in ((), "other.kore.ai"):
                with pytest.raises(SettingsError, match=r"allow_host='platform\.kore\.ai'"):
                    await engine.load(rate=10, count=1, allow_host=allowed)

    async def test_unknown_option(self, engine: Engine) -> None:
        """An option that does not exist is refused, with the nearest name."""
        jobs: tuple[Callable[..., Any], ...] = (engine.load, engine.run)
        for do, near in zip(jobs, ("", "; did you mean output?"), strict=True):
            with pytest.raises(SettingsError, match=f"^outptu: there is no such option{re.escape(near)}$"):
                await do(["cd-1"], outptu="x")

    async def test_beside_a_quota(self, service: Simulator, tmp_path: Path) -> None:
        """The engine's quota does not delay a load test, which leaves nothing in its store."""
        store = tmp_path / "quota.sqlite"
        slow = settings(service, type=CampaignType.VOICE, quota="1/h", quota_store=str(store))
        async with Engine(slow) as engine:
            assert (await engine.load(rate=100, count=10, max_late=PATIENT)).metrics.requests == 10
            assert (await engine.run([CAMPAIGN])).is_done


class Silent(Recorded):
    """A transport that never answers."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.asked = asyncio.Event()

    async def post(self, target: str, *args: Any) -> Response | TransportFailure:
        """Keep callers waiting."""
        self.asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError


@pytest.mark.parametrize("name", ["load", "verify"])
async def test_cancelled(name: str) -> None:
    """A cancelled caller gets the cancellation at once, and no task is left."""
    transport = Silent()
    here = Settings(host="http://127.0.0.1:1", token="t", account_id="a1", stream_id="st-1")
    async with Engine(here, transport=transport) as engine:
        before = asyncio.all_tasks()
        job = engine.load([CAMPAIGN], closed=True, count=100) if name == "load" else engine.verify([CAMPAIGN])
        task = asyncio.ensure_future(job)
        await transport.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before


class TestHooks:
    """All services of an engine use its hooks."""

    async def test_all_of_them(self, service: Simulator) -> None:
        """One token, one transport for all; `around` and `classify` where campaigns are stopped."""
        asked: list[str] = []
        around: list[str] = []
        read: list[int] = []

        async def get_token() -> str:
            asked.append("a token")
            return "of-my-own"

        def audit(send: Send) -> Send:
            async def send_and_note(campaign: Campaign) -> Attempt:
                around.append(campaign.campaign_id)
                return await send(campaign)

            return send_and_note

        def classify(response: Response) -> None:
            read.append(response.status)

        transport = Recorded(service.url)
        async with Engine(
            settings(service), token=get_token, transport=transport, around=audit, classify=classify
        ) as engine:
            campaigns = [campaign async for campaign in engine.discover()]
            assert not around
            await engine.load(campaigns, rate=100, count=2, max_late=PATIENT)
            await engine.verify(campaigns)
        assert around == [each.campaign_id for each in campaigns[:2]]
        assert len(read) == 2
        assert transport.opened == 1
        assert len(transport.targets) == len(service.requests)
        assert asked == ["a token"]


async def test_outside_the_block(service: Simulator) -> None:
    """A closed engine refuses every call with a message."""
    engine = Engine(settings(service))
    for job in (engine.verify(["x"]), engine.load(rate=1, count=1), anext(engine.discover())):
        with pytest.raises(BulkstopError, match="not open"):
            await job
