"""The complete job against nginx, an independent HTTP server."""

from collections import Counter
from pathlib import Path

import pytest

from bulkstop import Campaign, CampaignType, Outcome, Result, Settings, stop
from bulkstop.kore.calls import target
from bulkstop.settings import NO_LIMIT
from bulkstop.settings.parse import TransportName
from tests.servers import Nginx

pytestmark = pytest.mark.real

ACCOUNTS = ("5f8d0d55b54764421b7156d9", "5f8d0d55b54764421b7156da")
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"
each_transport = pytest.mark.parametrize("transport", TransportName)
ODD_IDS = ["with a space", "Grüße", "what?&campaignType=sms", "100 °", "a;b,c:d@e", "#1", "..."]


def campaigns(count: int) -> list[Campaign]:
    """Make campaigns of both types and of two accounts, a few with ids that have to be encoded."""
    ids = [*ODD_IDS, *(f"cd-{n:07x}-0000-5000-8000-000000000000" for n in range(count - len(ODD_IDS)))]
    return [
        Campaign.of_row(
            each, list(CampaignType)[n % 2], ACCOUNTS[n % 3 == 0], f"st-{n % 5}", f"app-{n % 5}", "list.csv", n + 2
        )
        for n, each in enumerate(ids)
    ]


@each_transport
@pytest.mark.parametrize("count", [300, 600], ids=["asyncio", "uvloop"])  # the job changes its loop at 500
def test_each_campaign_is_stopped_by_one_exact_call(
    nginx_server: Nginx, tmp_path: Path, count: int, transport: TransportName
) -> None:
    """Every campaign is stopped, and the log of nginx shows each documented request once and nothing else."""
    todo = campaigns(count)
    results: list[Result] = []
    settings = Settings(
        host=nginx_server.url, token=TOKEN, quota=NO_LIMIT, concurrency=16, transport=transport, any_id=True
    )
    summary = stop(todo, settings, output=str(tmp_path / "results.jsonl"), on_result=results.append)
    assert summary.is_done
    assert summary.stats.outcomes == {Outcome.STOPPED: count}
    assert summary.calls == count
    assert {result.campaign_id: result.campaign_execution_type for result in results} == {
        each.campaign_id: None if each.campaign_type is CampaignType.VOICE else "NORMAL" for each in todo
    }
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == count
    assert Counter(nginx_server.stop()) == Counter(
        f"POST {target(each)} HTTP/1.1|200|{TOKEN}|{each.account_id}|{each.iid}|application/json|2" for each in todo
    )


@each_transport
def test_path_that_does_not_exist(nginx_server: Nginx, transport: TransportName) -> None:
    """A path template that is wrong for a deployment is not_found, with nginx's own page as the words."""
    results: list[Result] = []
    settings = Settings(
        host=nginx_server.url,
        token=TOKEN,
        quota=NO_LIMIT,
        transport=transport,
        voice_path="/elsewhere/{campaignId}",
        any_id=True,
    )
    summary = stop(campaigns(30)[1::2], settings, on_result=results.append)  # SMS alone
    assert summary.stats.outcomes == {Outcome.STOPPED: 15}
    results.clear()
    summary = stop(campaigns(30)[::2], settings, on_result=results.append)  # voice alone
    assert summary.stats.outcomes == {Outcome.NOT_FOUND: 15}
    assert {(result.http_status, result.attempts) for result in results} == {(404, 1)}
    assert all("404 Not Found" in (result.message or "") for result in results)
