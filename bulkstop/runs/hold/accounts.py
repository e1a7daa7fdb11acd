"""What a hold knows of each account: when it looked, what it could not read, and how many stops are under way."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from bulkstop.engine.tasks import Sleeper
from bulkstop.model import Scope
from bulkstop.report.lists.discovery import Discovery
from bulkstop.text import printable

WHOLE_EVERY_S = 10.0
"""For each call that it took, so long the whole list is not read again: a tenth of the usual quota."""


@dataclass(slots=True, eq=False)
class WatchedAccount:
    """An account that is looked at every so often, whatever becomes of the others."""

    account_id: str
    sleeper: Sleeper
    looked_at: float = -math.inf
    whole_at: float = -math.inf
    unread: str | None = None
    notes: frozenset[str] = frozenset()
    left: int = 0
    """Rows of sightings that have no line yet; until they have the account is not looked at."""


@dataclass(slots=True)
class WatchedAccounts:
    """The accounts of a hold, by id; `now` is the clock by which they sleep."""

    ids: Iterable[str]
    now: Callable[[], float]
    by_id: dict[str, WatchedAccount] = field(init=False)

    def __post_init__(self) -> None:
        """Make one for each."""
        self.by_id = {each: WatchedAccount(each, Sleeper(self.now)) for each in self.ids}

    @property
    def are_several(self) -> bool:
        """Whether it must be said which account is meant."""
        return len(self.by_id) > 1

    def note_whole(self, accounts: Collection[WatchedAccount], discovery: Discovery) -> None:
        """Note that the whole lists of these were read now."""
        for each in accounts:
            each.whole_at = self.now() + WHOLE_EVERY_S * discovery.calls / len(accounts)

    def wake_all(self) -> None:
        """Have each look at what has changed."""
        for each in self.by_id.values():
            each.sleeper.wake()

    def add_left(self, account_ids: Iterable[str | None]) -> None:
        """Note rows that are to be stopped, each by its account."""
        for each in account_ids:
            if each is not None and each in self.by_id:
                self.by_id[each].left += 1

    def end_one(self, account_id: str | None) -> None:
        """Note that a row has its line; with the last one the account may be looked at again."""
        account = self.by_id.get(account_id or "")
        if account is not None and account.left:
            account.left -= 1
            if not account.left:
                account.sleeper.wake()


def list_accounts(scopes: Iterable[Scope]) -> list[str]:
    """Return the accounts of lists, each once."""
    return list(dict.fromkeys(scope.account_id for scope in scopes))


def explain_unread(discovery: Discovery) -> str | None:
    """Say what of the lists could not be read, and why; None if all was."""
    faults = [] if discovery.fault is None else [printable(str(discovery.fault))]
    return "; ".join([*faults, *discovery.failed]) or None
