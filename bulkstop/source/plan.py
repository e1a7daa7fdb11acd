"""One pass over the rows before anything is sent: each campaign once, in order, counted."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import orjson

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Outcome, Result, Row, held
from bulkstop.source.spool import Spool

_TYPES = {kind.value: kind for kind in CampaignType}
LAST = 2**62
"""The place of a campaign without a priority: after all that have one."""


class Plan:
    """What a run will do, fixed before it begins.

    The rows are put aside on disk, so what was shown and confirmed is what is sent, also when the input changes or was
    standard input; in memory a row costs about 100 bytes. Raises the InputError of an input that cannot be read.
    """

    def __init__(self, rows: Iterable[Row], *, by_priority: bool = False) -> None:
        self.rows = 0
        self.types: Counter[CampaignType] = Counter()
        self.held: Counter[Outcome] = Counter()
        self._campaigns = Spool()
        self._held = Spool()
        self._held_offsets = array("Q")
        self._lanes: dict[str, array[int]] = {}
        try:
            self._read(rows, by_priority=by_priority)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the temporary files."""
        self.close()

    @property
    def held_invalid(self) -> int:
        """Rows that cannot be used."""
        return self.held[Outcome.INVALID]

    @property
    def to_send(self) -> int:
        """Campaigns that will be sent."""
        return sum(len(offsets) for offsets in self._lanes.values())

    @property
    def accounts(self) -> dict[str, int]:
        """Campaigns to be sent per account, in the order in which the accounts appear."""
        return {account_id: len(offsets) for account_id, offsets in self._lanes.items()}

    def campaigns(self, account_id: str) -> Iterator[Campaign]:
        """Give the campaigns of one account in the order of sending."""
        return map(_unpack, self._campaigns.lines(self._lanes[account_id]))

    def held_results(self) -> Iterator[Result]:
        """Give the result of every row that is not sent: invalid ones and duplicates."""
        return map(_unpack_held, self._held.lines(self._held_offsets))

    def close(self) -> None:
        """Free the temporary files."""
        self._campaigns.close()
        self._held.close()

    def _read(self, rows: Iterable[Row], *, by_priority: bool) -> None:
        seen: dict[int, int] = {}
        priorities: dict[str, array[int]] = {}
        for row in rows:
            self.rows += 1
            if isinstance(row, Result):
                self._hold(row)
            elif first := self._seen_before(seen, row):
                self._hold(
                    held(row, Outcome.DUPLICATE, f"the same campaign stands at {first.source} line {first.line}")
                )
            else:
                self._admit(row)
                if by_priority:
                    place = LAST if row.priority is None else max(-LAST, min(row.priority, LAST))
                    priorities.setdefault(row.account_id, array("q")).append(place)
        for account_id, places in priorities.items():
            offsets = self._lanes[account_id]
            order = sorted(range(len(places)), key=places.__getitem__)
            self._lanes[account_id] = array("Q", (offsets[i] for i in order))

    def _seen_before(self, seen: dict[int, int], campaign: Campaign) -> Campaign | None:
        """Find the earlier row of the same campaign; the hash only says where to look, so no two are ever confused."""
        key = _identity(campaign)
        offset = seen.setdefault(hash(key), self._campaigns.size)
        if offset == self._campaigns.size:
            return None
        first = _unpack(self._campaigns.line(offset))
        return first if _identity(first) == key else None

    def _admit(self, campaign: Campaign) -> None:
        offset = self._campaigns.append(_pack(campaign))
        self._lanes.setdefault(campaign.account_id, array("Q")).append(offset)
        self.types[campaign.campaign_type] += 1

    def _hold(self, result: Result) -> None:
        self.held[result.outcome] += 1
        self._held_offsets.append(self._held.append(_pack_held(result)))


def _identity(campaign: Campaign) -> tuple[str, str, str, str]:
    return campaign.campaign_id, campaign.campaign_type.value, campaign.account_id, campaign.stream_id


def _pack(campaign: Campaign) -> bytes:
    return _line(tuple(campaign), campaign)


def _unpack(line: bytes) -> Campaign:
    values = orjson.loads(line)
    values[1] = _TYPES[values[1]]
    return Campaign._make(values)


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
    campaign_id, campaign_type, account_id, stream_id, outcome, error, source, number, row = orjson.loads(line)
    kind = None if campaign_type is None else CampaignType(campaign_type)
    return Result(
        campaign_id, kind, account_id, stream_id, Outcome(outcome), error=error, source=source, line=number, row=row
    )


def _line(values: tuple[object, ...], of: Row) -> bytes:
    try:
        return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS, default=str)
    except TypeError as error:
        raise InputError(f"{of.source} line {of.line}: its other columns are no JSON ({error})") from None
