"""Settings become parts: what all that make calls for an account have in common."""

import asyncio
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from bulkstop.engine.limits.blocks import Blocks
from bulkstop.errors import CredentialsError
from bulkstop.model import Campaign, CampaignType, Limit, Outcome
from bulkstop.redact import MASK, REDACTOR
from bulkstop.runs.lists.roster import Roster
from bulkstop.runs.stop.plan import make_plan
from bulkstop.runs.stop.precheck import KnownStates, narrow_plan
from bulkstop.runs.stop.work import make_lanes
from bulkstop.runs.wiring import Accounts, Terms, find_proxy, make_guards, make_tokens
from bulkstop.settings import Settings
from bulkstop.settings.targets import Profiles
from bulkstop.source.plan import Plan
from tests.engine.limits.shelf import Shelf
from tests.engine.parts import accounts


def test_whoever_calls_for_an_account_shares_its_rest() -> None:
    """After a call for an account must wait, its lane does too, whether or not lists were read before."""
    settings = Settings(host="api.example", token="t")
    shared = Accounts(settings, None)
    shared.rest("a1").extend(7.0)
    with closing(make_plan(accounts(["a1", "a2"], 2), settings)) as plan:
        left = narrow_plan(plan, KnownStates(Roster({})), lambda campaign: None)
        for first, second in (make_lanes(plan, shared), make_lanes(left, shared)):
            assert first.rest.until == 7.0
            assert second.rest.until < 7.0


async def test_calls_that_wait_for_the_same_are_told_as_one() -> None:
    """Several calls that wait for one quota are reported once, with the account."""
    reasons, drained = list[str](), asyncio.Event()
    settings = Settings(host="api.example", token="t", quota="1/1h")
    shared = Accounts(settings, None, drained=drained, rests=lambda seconds, why: reasons.append(why))

    async def ask() -> str:
        return "page"

    await shared.caller("a1").call(ask)
    waiting = [asyncio.create_task(shared.caller("a1").call(ask)) for _ in range(3)]
    await asyncio.sleep(0)
    drained.set()
    await asyncio.gather(*waiting)
    assert reasons == ["account a1: its quota is used up"]


def test_password_of_the_proxy(tmp_path: Path) -> None:
    """A proxy's password comes from any of its sources, fits into the URL with any characters, and is masked."""
    (tmp_path / "password").write_text("another p@ss/word:9\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"proxy_password": "p@ss/w:rd%41"}, "p%40ss%2Fw%3Ard%2541"),
        ({"proxy_password_file": str(tmp_path / "password")}, "another%20p%40ss%2Fword%3A9"),
    ]
    for more, word in cases:
        settings = Settings(host="h", proxy="http://us%40er@proxy:3128", **more)
        assert find_proxy(settings) == f"http://us%40er:{word}@proxy:3128"
        assert REDACTOR.redact(f"{word} {unquote(word)}") == f"{MASK} {MASK}"
    assert find_proxy(Settings(host="h", proxy="http://proxy:3128")) == "http://proxy:3128"
    assert find_proxy(Settings(host="h", proxy_password="pa55word")) is None
    gone = Settings(host="h", proxy="http://user@proxy", proxy_password_file=str(tmp_path / "gone"))
    with pytest.raises(CredentialsError, match=r"^proxy_password_file .*/gone: cannot be read"):
        find_proxy(gone)


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder"])
def test_secret_from_what_is_no_file(kind: str, tmp_path: Path) -> None:
    """A file that might block or never end is refused at once as a secret."""
    path = Path(kind) if kind.startswith("/") else tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    settings = Settings(host="h", client_id="cs-1", client_secret_file=str(path))
    with pytest.raises(CredentialsError, match=r"^client_secret_file .*: cannot be read \("):
        make_tokens(settings)


def test_what_an_account_may_do_is_that_of_one_host() -> None:
    """One id at two hosts has two quotas, rests and places in a store; two profiles of one host share all of them."""
    own = Settings(host="one.example", token="t", quota=(Limit(2, 60.0),))
    other = Terms(replace(own, host="two.example", quota=(Limit(9, 60.0),)), Blocks(Shelf([Limit(9, 60.0)])))
    same = Terms(replace(own, quota=(Limit(7, 60.0),)), None)
    shared = Accounts(own, None, terms={"two": other, "same": same})
    profiles = Profiles(own)
    profiles.others |= {"two": other.settings, "same": same.settings}
    names = enumerate((None, "two", "same", "two"), start=1)
    ids = "cd-1", CampaignType.SMS, "a1", "st-1", "st-1"
    made = [Campaign.of_row(*ids, "list.csv", line, profile=name) for line, name in names]
    with closing(Plan(made, account_of=profiles.name_account)) as plan:
        shared.note_first(plan)
        assert plan.accounts == {"a1": 1, "a1 at https://two.example": 1}
        assert plan.held[Outcome.DUPLICATE] == 2
        first, second = make_lanes(plan, shared)
    assert [lane.quota.places(0.0, 0.0)[0].size for lane in (first, second)] == [2, 9]
    assert (first.rest is second.rest, shared.claim("a1")) == (False, None)
    assert other.store is not None
    assert shared.claim("a1 at https://two.example") is other.store.account("a1")
    callers = [shared.caller_of(campaign) for campaign in made]
    assert callers[0] is callers[2]
    assert callers[1] is callers[3]
    assert callers[0] is not callers[1]
    guards = make_guards(own, 2, account_of=shared.name)
    assert guards.group_of(made[0]) is not guards.group_of(made[1])
    assert guards.limit_of("a1 at https://two.example") == 1
