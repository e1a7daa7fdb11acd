"""Lists of many scopes, read once: in which order, how many at a time, and what is kept of each."""

import asyncio
from functools import partial

import pytest

from bulkstop.engine.caller import Caller
from bulkstop.engine.limits.quota import NoQuota
from bulkstop.engine.retry import Retry
from bulkstop.errors import CredentialsError
from bulkstop.kore.calls import Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, CampaignType, Outcome, Scope
from bulkstop.runs.lists.listing import ListFilter
from bulkstop.runs.lists.roster import Roster, read_roster, run_by_account


class Failing:
    """A service whose lists of one account cannot be read."""

    def __init__(self) -> None:
        self.open = self.most_open = 0
        self.groups: list[Scope] = []

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer by account."""
        assert isinstance(call.where, Scope)
        self.groups.append(call.where)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        body = b'{"status":"success","data":{"results":[{"_id":"cd-1","status":"Active"}]}}'
        return call.read(Response(403 if call.where.account_id == "a2" else 200, body, 1.0))


GROUPS = [
    Scope(account, "st-1", "st-1", kind) for kind in (CampaignType.VOICE, CampaignType.SMS) for account in ("a1", "a2")
]


def test_several_lists() -> None:
    """Each group has its listing, in order; one that fails leaves the others, and those of an account are in turn."""
    service, callers = Failing(), dict[str, Caller]()

    def caller_of(scope: Scope) -> Caller:
        return callers.setdefault(scope.account_id, Caller(NoQuota(), retry=Retry(1)))

    roster = asyncio.run(read_roster([*GROUPS, *GROUPS], service.ask, caller_of, ListFilter()))
    lists = list(roster.listings.values())
    assert [one.scope for one in lists] == GROUPS
    assert [one.failure and one.failure.outcome for one in lists] == [None, Outcome.UNAUTHORIZED] * 2
    assert [(scope, item.campaign_id) for scope, item in roster.rows()] == [(GROUPS[0], "cd-1"), (GROUPS[2], "cd-1")]
    assert (sorted(callers), service.most_open) == (["a1", "a2"], 2)


def test_no_list_waits_for_another() -> None:
    """With `all_at_once`, the lists of a slow account are read concurrently."""
    service = Failing()
    caller = Caller(NoQuota(), retry=Retry(1))
    asyncio.run(read_roster(GROUPS, service.ask, lambda account_id: caller, ListFilter(), all_at_once=True))
    assert service.most_open == len(GROUPS)


def test_no_list_at_all() -> None:
    """Without scopes nothing is read."""
    assert asyncio.run(read_roster([], Failing().ask, lambda account_id: pytest.fail("no account"), ListFilter())) == (
        Roster({})
    )


def test_what_ends_the_run() -> None:
    """Without a token no list can be read, and that is raised as it is."""

    class Tokenless:
        async def ask(self, call: Call[T], /) -> T | Attempt:
            raise CredentialsError("no token")

    with pytest.raises(CredentialsError):
        asyncio.run(
            read_roster(GROUPS, Tokenless().ask, lambda account_id: Caller(NoQuota(), retry=Retry(1)), ListFilter())
        )


def test_jobs_by_account() -> None:
    """Jobs of an account run in sequence, those of others concurrently, within the number of accounts."""
    log = list[str]()

    async def work(name: str) -> None:
        log.append(f"+{name}")
        await asyncio.sleep(0)
        log.append(f"-{name}")

    jobs = [(name[0], partial(work, name)) for name in ("a1", "b1", "a2", "c1")]
    asyncio.run(run_by_account(jobs, 2))
    assert log == ["+a1", "+b1", "-a1", "+a2", "-b1", "+c1", "-a2", "-c1"]
