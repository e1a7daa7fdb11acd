"""Plans a list in one pass before anything is sent: each campaign once, in order, counted."""

import heapq
import json
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import TracebackType
from typing import Any, Self

import orjson

from bulkstop.errors import InputError
from bulkstop.impact import DEFAULT_PRIORITY, rank_impact
from bulkstop.model import Campaign, CampaignType, Order, Outcome, Result, Row, unsent_result, utc_text
from bulkstop.naming import name_setting
from bulkstop.source.digest import Digest, Digests
from bulkstop.source.due.stop_at import read_stop_time
from bulkstop.source.due.stop_times import StopTimes
from bulkstop.source.first_seen import FirstSeen
from bulkstop.source.id_check import UnusualIds
from bulkstop.source.inputs import MOST_BYTES
from bulkstop.source.protect import Protection
from bulkstop.source.rows import unreadable_priority
from bulkstop.source.spool import BLOCK, Spool
from bulkstop.source.understood import Understood
from bulkstop.text import format_count, format_size

_TYPES = {kind.value: kind for kind in CampaignType}
NEVER_SENT = frozenset({Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED})
SMALLEST_BLOCK, ALL_BLOCKS = 2048, 16 * 1024 * 1024
"""Least bytes that an account reads ahead of the list, and most of all accounts together."""
_ODD = b" "
"""Begins the line of a row that orjson cannot write."""
PROFILE_AT = Campaign._fields.index("profile")
LAST = 2**62
"""The sort key of a campaign with an unreadable priority, which is last in either order."""


class Plan:
    """The plan of a run, which does not change once it is made.

    Rows are stored on disk, so that exactly the confirmed rows are sent, even if the input changes or was standard
    input; in memory a row costs about 40 bytes. From an earlier run, `settled` returns the outcome of a row that has
    ended, `find_unusable` the unusable row that was in its place, and `recorded` are the digests of the inputs.
    Campaigns that `protection` names are not sent; `protected` counts each of them once, whether or not its row has
    ended. A campaign that is listed again is a duplicate, unless the list `repeats` campaigns on purpose. Rows may take
    `most` bytes of temporary files. `understood` describes how the inputs were read, and is complete after that.
    `account_of` returns the account of a campaign with a profile: the same ids at another host are another account, and
    another campaign. A time of day to stop by is its next occurrence after `now`, in unix seconds. Raises the
    InputError of an input that cannot be read, or has changed.

    Code that knows the settings adds `warnings`, and `ends_at`, the earliest time at which the last stop can be sent.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        order: Order = Order.INPUT,
        settled: Callable[[Row], Outcome | None] | None = None,
        find_unusable: Callable[[Row], Result | None] | None = None,
        recorded: Mapping[str, Digest] | None = None,
        protection: Protection | None = None,
        most: int | None = None,
        understood: Sequence[Understood] = (),
        repeats: bool = False,
        account_of: Callable[[Campaign], str] = attrgetter("account_id"),
        now: float | None = None,
    ) -> None:
        self.rows = 0
        self.now = time.time() if now is None else now
        self.stop_times = StopTimes()
        self.understood = understood
        self.protected = 0
        self.is_claimed = False
        self.is_closed = False
        self.warnings: tuple[str, ...] = ()
        self.ends_at: datetime | None = None
        self.looks = UnusualIds()
        self.protection = protection or Protection()
        self.types: Counter[CampaignType] = Counter()
        self.held: Counter[Outcome] = Counter()
        self.settled: Counter[Outcome] = Counter()
        self.digests: dict[str, Digest] = {}
        self._settled = settled
        self._find_unusable = find_unusable
        self._repeats = repeats
        self._account_of = account_of
        self._most = MOST_BYTES if most is None else most
        self._digests = Digests(recorded)
        self._campaigns = Spool()
        self._held = Spool()
        self._held_offsets = array("Q")
        self._lanes: dict[str, array[int]] = {}
        try:
            self._sort(self._read(rows, order))
            self._campaigns.flush()
            self._held.flush()
            self.digests = self._digests.finish()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the temporary files."""
        self.close()

    @property
    def held_invalid(self) -> int:
        """The number of rows that cannot be used."""
        return self.held[Outcome.INVALID]

    @property
    def first_invalid(self) -> str:
        """The place and fault of the first row that cannot be used; empty without one."""
        first = next((each for each in self.held_results() if each.outcome is Outcome.INVALID), None)
        return "" if first is None else f"{first.source} line {first.line}: {first.error}"

    @property
    def to_send(self) -> int:
        """The number of campaigns to send."""
        return sum(len(offsets) for offsets in self._lanes.values())

    @property
    def listed(self) -> int:
        """The number of distinct campaigns: those to send, and those that ended in an earlier run."""
        return self.to_send + sum(self.settled[outcome] for outcome in Outcome if outcome not in NEVER_SENT)

    @property
    def accounts(self) -> dict[str, int]:
        """The number of campaigns to send by account, in the order in which the accounts first occur."""
        return {account_id: len(offsets) for account_id, offsets in self._lanes.items()}

    def campaigns(self, account_id: str) -> Iterator[Campaign]:
        """Return the campaigns of one account in the order of sending."""
        block_bytes = max(SMALLEST_BLOCK, min(BLOCK, ALL_BLOCKS // len(self._lanes)))  # one per account
        campaigns = map(_unpack, self._campaigns.lines(self._lanes[account_id], block_bytes))
        return map(self._with_time, campaigns) if self.stop_times else campaigns

    def first(self, account_id: str) -> Campaign:
        """Return the first campaign of one account."""
        return _unpack(self._campaigns.line(self._lanes[account_id][0]))

    def at(self, places: Iterable[int]) -> Iterator[Campaign]:
        """Return the campaigns at these places, counted from 0, of all to be sent; not for a plan by priority."""
        lanes = list(self._lanes.values())
        offsets = lanes[0] if len(lanes) == 1 else array("Q", heapq.merge(*lanes))
        return map(_unpack, self._campaigns.lines(map(offsets.__getitem__, places)))

    def held_results(self) -> Iterator[Result]:
        """Return the result of every row that is not sent: invalid, protected and duplicate ones."""
        return map(_unpack_held, self._held.lines(self._held_offsets))

    def claim(self) -> None:
        """Reserve the plan for a run; raises InputError for one that is closed, or that a run has used."""
        if self.is_claimed or self.is_closed:
            raise InputError(
                "the plan has been used: a plan is good for one run, while its engine is open; make another"
            )
        self.is_claimed = True

    def close(self) -> None:
        """Close the temporary files."""
        self.is_closed = True
        self._campaigns.close()
        self._held.close()

    def _read(self, rows: Iterable[Row], order: Order) -> dict[str, "array[int]"]:
        """Store every row; return the sort key of each campaign by account, if the order needs it."""
        seen, keys, protected = FirstSeen(), FirstSeen(), FirstSeen()
        priorities: dict[str, array[int]] = {}
        campaigns, held, looks, types, lanes = self._campaigns, self._held, self.looks, self.types, self._lanes
        has_rules, has_times = self.protection.rules > 0, False
        for row in rows:
            if row.row is not None and not isinstance(row, Result):
                row = self._with_time_or_why(row)
            self.rows += 1
            if campaigns.size + held.size > self._most:
                raise self._explain_too_long()
            if not row.line and keys.first(hash(row.source), self.rows):
                raise InputError(f"the key {row.source!r} is used twice; give each campaign its own key")
            outcome = None if self._settled is None else self._settled(row)
            if isinstance(row, Result):
                self._take_unusable(row, outcome)
                continue
            line = _pack(row)
            if row.line:
                was = self._find_unusable(row) if self._find_unusable and outcome is None else None
                self._digests.add(row.source, row.line, line, None if was is None else _pack_names(was))
            account = row.account_id if row.profile is None else self._account_of(row)
            key_hash = hash((row.campaign_id, row.campaign_type, account, row.stream_id))
            if has_rules and (rule := self.protection.of(row)):
                self.protected += protected.first(key_hash, self.rows) is None
                self._hold(unsent_result(row, Outcome.PROTECTED, rule), outcome)
                continue
            at = None if self._repeats else seen.first(key_hash, campaigns.size)
            if at is not None and (first := self._same_at(at, row)):
                why = f"the same campaign is at {first.source} line {first.line}"
                self._hold(unsent_result(row, Outcome.DUPLICATE, why), outcome and Outcome.DUPLICATE)
                continue
            offset = campaigns.append(line)  # even of one that has ended: a later row may name it again
            if outcome is not None and outcome is not Outcome.DUPLICATE:  # the earlier row is gone
                self.settled[outcome] += 1
                continue
            if (lane := lanes.get(account)) is None:
                lane = lanes[account] = array("Q")
            lane.append(offset)
            types[row.campaign_type] += 1
            looks.add(row)
            if row.stop_at or has_times:
                has_times = True
                self.stop_times.add(account, read_stop_time(row.row, self.now) if row.stop_at else None, len(lane) - 1)
            if order is not Order.INPUT:
                priorities.setdefault(account, array("q")).append(_place(row, order))
        return priorities

    def _explain_too_long(self) -> InputError:
        what = (
            f"the first {format_count(self.rows, 'row')} of the list "
            f"need more than {format_size(self._most)} of temporary files"
        )
        return InputError(f"{what}; give {name_setting('max_input_size', '4GB')}, or more, if this is right")

    def _sort(self, priorities: dict[str, "array[int]"]) -> None:
        for account_id, places in priorities.items():
            offsets = self._lanes[account_id]
            order = sorted(range(len(places)), key=places.__getitem__)
            self._lanes[account_id] = array("Q", (offsets[i] for i in order))
            self.stop_times.sort(account_id, order)
        for account_id in self.stop_times.accounts:
            order, offsets = self.stop_times.sort_by_time(account_id), self._lanes[account_id]
            self._lanes[account_id] = array("Q", (offsets[i] for i in order))

    def _with_time(self, campaign: Campaign) -> Campaign:
        """Return a campaign with the moment to stop it by, if its row has one."""
        if campaign.row is None or (stop := read_stop_time(campaign.row, self.now)) is None:
            return campaign
        return campaign._replace(stop_at=utc_text(stop.at))

    def _with_time_or_why(self, campaign: Campaign) -> Row:
        """Return a campaign with its stop time, or an `invalid` result if that cannot be read."""
        try:
            return self._with_time(campaign)
        except ValueError as why:
            return unsent_result(campaign, Outcome.INVALID, str(why))

    def _take_unusable(self, row: Result, outcome: Outcome | None) -> None:
        if row.line:  # otherwise its key identifies it, in any order
            was = self._find_unusable(row) if self._find_unusable and outcome is None else None
            self._digests.add(row.source or "", row.line, _pack_names(row), None if was is None else _pack_names(was))
        self._hold(row, outcome)

    def _same_at(self, offset: int, campaign: Campaign) -> Campaign | None:
        """Return the earlier row at an offset if it is the same campaign; equal hashes do not prove that."""
        first = _unpack(self._campaigns.line(offset))
        return first if self._identify(first) == self._identify(campaign) else None

    def _identify(self, campaign: Campaign) -> tuple[str, str, str, str]:
        return campaign.campaign_id, campaign.campaign_type.value, self._name_account(campaign), campaign.stream_id

    def _name_account(self, campaign: Campaign) -> str:
        return campaign.account_id if campaign.profile is None else self._account_of(campaign)

    def _hold(self, result: Result, outcome: Outcome | None) -> None:
        if outcome is not None:
            self.settled[outcome] += 1
            return
        self.held[result.outcome] += 1
        self._held_offsets.append(self._held.append(_pack_held(result)))


def _place(campaign: Campaign, order: Order) -> int:
    """Return the sort key of a campaign; the smallest is sent first."""
    priority = campaign.priority
    if order is Order.IMPACT:
        return rank_impact(campaign, is_odd=priority is None and unreadable_priority(campaign) is not None)
    if priority is None:
        if unreadable_priority(campaign) is not None:
            return LAST
        priority = DEFAULT_PRIORITY
    priority = max(1 - LAST, min(priority, LAST - 1))
    return priority if order is Order.PRIORITY_ASCENDING else -priority


def _pack(campaign: Campaign) -> bytes:
    # A resumed run recognizes its inputs by this line, so a row without a profile packs as before there were profiles.
    # The moment to stop by is left out, because a time of day has another one each day.
    return _line(campaign[: PROFILE_AT + (campaign.profile is not None)], campaign)


def _pack_names(result: Result) -> bytes:
    """Pack the values of an unusable row without the reason, which may be worded differently later."""
    names = result.line, result.campaign_id, result.campaign_type, result.account_id, result.stream_id, result.row
    return _line(names, result)


def _unpack(line: bytes) -> Campaign:
    values = _read_line(line)
    values[1] = _TYPES[values[1]]
    return Campaign.of_row(*values)


def _pack_held(result: Result) -> bytes:
    values = (
        result.campaign_id,
        result.campaign_type,
        result.account_id,
        result.stream_id,
        result.outcome,
        result.error,
        result.source,
        result.line,
        result.row,
    )
    return _line(values, result)


def _unpack_held(line: bytes) -> Result:
    campaign_id, campaign_type, account_id, stream_id, outcome, error, source, number, row = _read_line(line)
    kind = None if campaign_type is None else CampaignType(campaign_type)
    return Result(
        campaign_id, kind, account_id, stream_id, Outcome(outcome), error=error, source=source, line=number, row=row
    )


def _line(values: tuple[object, ...], of: Row) -> bytes:
    try:
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS, default=_plain)
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        return _odd_line(values, of)


def _odd_line(values: tuple[object, ...], of: Row) -> bytes:
    try:
        return _ODD + json.dumps(values, default=_plain, skipkeys=True).encode() + b"\n"
    except (ValueError, RecursionError):
        why = "they are nested too deeply, or hold a number that is too long"
        raise InputError(f"{of.source} line {of.line}: its other columns cannot be written: {why}") from None


def _read_line(line: bytes) -> Any:
    # NaN and infinities become null, as orjson writes them.
    return json.loads(line, parse_constant=lambda _: None) if line.startswith(_ODD) else orjson.loads(line)


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
