"""What a hold records of each account: when it was listed, read errors, and rows without a result line."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from bulkstop.engine.tasks import Sleeper
from bulkstop.model import Scope
from bulkstop.report.lists.discovery import Discovery
from bulkstop.text import printable

WHOLE_EVERY_S = 10.0
"""Seconds without another read of the whole list, for each call that it took: a tenth of the usual quota."""


@dataclass(slots=True, eq=False)
class WatchedAccount:
    """An account that a hold lists at intervals, independently of the other accounts."""

    account_id: str
    sleeper: Sleeper
    looked_at: float = -math.inf
    whole_at: float = -math.inf
    unread: str | None = None
    notes: frozenset[str] = frozenset()
    left: int = 0
    """Rows of sightings that have no line yet; the account is not listed again until they have."""


@dataclass(slots=True)
class WatchedAccounts:
    """The accounts of a hold, by id; `now` is the clock of their sleepers."""

    ids: Iterable[str]
    now: Callable[[], float]
    by_id: dict[str, WatchedAccount] = field(init=False)

    def __post_init__(self) -> None:
        """Create a `WatchedAccount` for each id."""
        self.by_id = {each: WatchedAccount(each, Sleeper(self.now)) for each in self.ids}

    @property
    def are_several(self) -> bool:
        """Whether there are several accounts, so that messages must name them."""
        return len(self.by_id) > 1

    def note_whole(self, accounts: Collection[WatchedAccount], discovery: Discovery) -> None:
        """Note that the whole lists of these accounts were read now."""
        for each in accounts:
            each.whole_at = self.now() + WHOLE_EVERY_S * discovery.calls / len(accounts)

    def wake_all(self) -> None:
        """Wake the sleepers of all accounts, so that each looks at what has changed."""
        for each in self.by_id.values():
            each.sleeper.wake()

    def add_left(self, account_ids: Iterable[str | None]) -> None:
        """Add rows that are to be stopped to their accounts."""
        for each in account_ids:
            if each is not None and each in self.by_id:
                self.by_id[each].left += 1

    def end_one(self, account_id: str | None) -> None:
        """Note that a row has its line; after the last one the account may be listed again."""
        account = self.by_id.get(account_id or "")
        if account is not None and account.left:
            account.left -= 1
            if not account.left:
                account.sleeper.wake()


def list_accounts(scopes: Iterable[Scope]) -> list[str]:
    """Return the account of each scope, without duplicates."""
    return list(dict.fromkeys(scope.account_id for scope in scopes))


def explain_unread(discovery: Discovery) -> str | None:
    """Return what could not be read of the lists, and why; None if all was read."""
    faults = [] if discovery.fault is None else [printable(str(discovery.fault))]
    return "; ".join([*faults, *discovery.failed]) or None
