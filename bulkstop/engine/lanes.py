"""The choice of the next call: every account has a lane, and no lane waits for another.

Nothing here sleeps or does I/O: `draw` returns a turn, the time at which to ask again, or None at the end. So hours of
quota are decided, and tested, in microseconds.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from bulkstop.engine.followup import FollowUp
from bulkstop.engine.guards.guards import Guards
from bulkstop.engine.guards.scopes import OPEN, Group
from bulkstop.engine.limits.quota import AllOf, EvenPacer, Quota
from bulkstop.engine.rest import AccountRest
from bulkstop.engine.retry import Tries
from bulkstop.model import Attempt, Campaign, Cancellable, Limit, PaceFinding, Wait, WaitReason

WAITING_RETRIES = 8192
"""The most campaigns, over all lanes, that wait for a retry, for room in their group or for a list; a full lane draws
no new ones, so memory is bounded."""
SOON_S = 0.5
"""A place taken from a store is used within this time; soon afterwards it is given back."""
NO_TRIES = Tries()
AHEAD = 2**62
"""An offset larger than any ticket: it moves lanes that already hold places to the front."""


class Claim(Protocol):
    """An account's places in a shared store; each call that is sent uses one."""

    @property
    def held(self) -> int:
        """The number of places in hand."""
        ...

    @property
    def is_away(self) -> bool:
        """Whether the store does not respond at present."""
        ...

    def take_now(self) -> bool:
        """Use a place in hand; return False if there is none."""
        ...

    async def take(self, want: int) -> float:
        """Use a place and return 0.0, or the seconds until the next request; `want` places could be used soon."""
        ...

    def answered(self) -> None:
        """Start to count the place of a call from now, since its response has arrived."""
        ...

    def give_back(self) -> None:
        """Return the place of a call that was not sent."""
        ...

    def release(self) -> None:
        """Return all places in hand to the store."""
        ...

    @property
    def note(self) -> str | None:
        """The note about the account that all users of the store share."""
        ...

    def save_note(self, text: str) -> None:
        """Replace the note about the account with a short text."""
        ...


@dataclass(slots=True, eq=False)
class Turn:
    """One campaign on its way through the engine, or the call that follows its stop."""

    campaign: Campaign
    lane: "Lane"
    group: Group[Any] = OPEN
    order: int = 0
    tries: Tries = NO_TRIES
    admitted: bool = False
    sent_at: float = -math.inf
    started_at: float | None = None
    answered_at: float | None = None
    last: Attempt | None = None
    follow_up: FollowUp | None = None
    call: Cancellable | None = None


class Lane:
    """The campaigns of one account, in order: those not drawn yet, and those that wait for a retry.

    `quota`, `claim` and `rest` belong to the account and may be shared with others that call for it. `follow_up`
    returns the only call of a campaign that needs no stop. `due_of` returns the time before which a campaign must not
    be sent; the campaigns come in the order of these times.
    """

    def __init__(
        self,
        account_id: str,
        campaigns: Iterable[Campaign],
        quota: Quota,
        claim: Claim | None = None,
        *,
        left: int = 0,
        paces_itself: bool = False,
        rest: AccountRest | None = None,
        follow_up: Callable[[Campaign], FollowUp] | None = None,
        due_of: Callable[[Campaign], float] | None = None,
    ) -> None:
        self.ends_after = -math.inf
        """The planned time at which its last campaign may be sent."""
        self.sibling: Lane | None = None
        """The account's other lane, if it has two: they share the quota and the groups."""
        self._due_of = due_of
        self._due = self._seen = -math.inf  # when the next new campaign may be sent, and the time of the last look
        self.account_id = account_id
        self.quota = self._own_quota = quota
        self.claim = claim
        self.rest = rest or AccountRest()
        self.claim_at = -math.inf  # not part of `rest`, which must not delay a call that the store has counted
        self.left = self.total = left
        self.paces_itself = paces_itself
        self.in_flight = 0
        self.ticket = 0
        self.parked = False  # no new campaign may begin; retries continue
        self.queued_at = math.inf
        self.is_over = False
        self.held = 0
        """Campaigns with a response whose lines wait for a list or for later responses in their group."""
        self._group_of: Callable[[Campaign], Group[Any]] | None = None
        self._follow_up = follow_up
        self._fresh = iter(campaigns)
        self._head = self._next_fresh()
        self._tries: dict[Group[Turn], deque[Turn]] = {}
        self._aside: dict[Group[Turn], deque[Turn]] = {}
        self._waiting: list[tuple[float, int, Turn]] = []
        self._follow_ups: list[tuple[float, int, Turn]] = []
        self._ties = count()
        self._following = 0
        self._has_recalled = False

    def ready_at(self, room: int) -> float:
        """Return when a turn can be drawn; inf if there is none, or only a response brings one.

        `room` is the most campaigns that may wait for a retry; beyond it no new ones are drawn. No stop is sent before
        follow-up calls have ended: so the campaigns without a result line never exceed those that may be in flight.
        """
        if self._following:
            due = self._follow_ups[0][0] if self._follow_ups else math.inf
        elif (self._tries and _has_room(self._tries)) or self._may_begin(room):
            due = -math.inf
        elif self._waiting or self._due > self._seen:
            due = self._waiting[0][0] if self._waiting else math.inf
            if self._due > self._seen and self._head is not None and not self.parked:
                due = min(due, self._due)
        else:
            return math.inf
        return max(due, self.rests_until, self.quota.ready_at())

    @property
    def rests_until(self) -> float:
        """The time before which no call may be sent because the service or the store asks to wait."""
        return max(self.rest.until, self.store_until)

    @property
    def store_until(self) -> float:
        """The time before which the store gives no place; irrelevant while a place is in hand."""
        return -math.inf if self.has_place else self.claim_at

    @property
    def has_place(self) -> bool:
        """Whether the account has a place in hand."""
        return self.claim is not None and self.claim.held > 0

    def count_wanted(self, now: float) -> int:
        """Return how many places of the store the lane can use at once, including the turn just drawn."""
        return (
            1
            if self._due_of is not None or self.quota.ready_at() > now + SOON_S
            else max(1, self.left - self.in_flight + 1)
        )

    def recall(self, wall_s: float) -> None:
        """Start, once, from what other processes learnt of the account's pace; `wall_s` is in unix seconds."""
        if not self._has_recalled and self.claim is not None and self.claim.note is not None:
            self._own_quota.recall(self.claim.note, wall_s)
        self._has_recalled = True

    def remember(self, wall_s: float) -> None:
        """Save what was learnt of the account's pace for other users of the store; `wall_s` is in unix seconds."""
        if self.claim is not None and (text := self._own_quota.remember(wall_s)) is not None:
            self.claim.save_note(text)

    def find_wait(self, now: float, begins: Wait | None) -> Wait | None:
        """Return why the lane sends nothing now; None if it may send, or has nothing to send.

        `begins` is the reason why no new campaign may begin, if there is one.
        """
        limits = (
            Wait(WaitReason.THROTTLED, self.rest.until),
            Wait(WaitReason.STORE if self.claim and self.claim.is_away else WaitReason.QUOTA, self.store_until),
            Wait(WaitReason.PACE if self.quota.finding() else WaitReason.QUOTA, self.quota.ready_at()),
        )
        held_up = max(limits, key=lambda wait: wait.until)
        if self.is_sent:
            return None if self.in_flight or not self.held else Wait(WaitReason.LIST, math.inf)
        return held_up if held_up.until > now else self._find_own_wait(now, begins)

    def _find_own_wait(self, now: float, begins: Wait | None) -> Wait | None:
        """Return what the remaining campaigns wait for although the account's limits permit a call."""
        if (self._waiting and self._waiting[0][0] <= now) or (self._tries and _has_room(self._tries)):
            return None
        retry = Wait(WaitReason.RETRY, self._waiting[0][0]) if self._waiting else None
        if not self.has_new:
            return retry or (Wait(WaitReason.RAMP, math.inf) if self._tries else None)
        if begins is not None:
            return min(filter(None, (begins, retry)), key=lambda wait: wait.until)
        if self._due > now and not self._aside:
            return min(filter(None, (Wait(WaitReason.STOP_AT, self._due), retry)), key=lambda wait: wait.until)
        has_room = (self._aside and _has_room(self._aside)) or (self._head is not None and self._head.group.has_room)
        return None if has_room else Wait(WaitReason.RAMP, math.inf)

    @property
    def unsent(self) -> int:
        """The number of campaigns that still have a call to make, as far as known."""
        return max(0, self.left - self.in_flight - self.held)

    def watch(self, guards: Guards["Turn"]) -> None:
        """Limit the calls in flight of each group as `guards` decide."""
        self._group_of = guards.group_of
        if self._head is not None:
            self._head.group = guards.group_of(self._head.campaign)

    def set_rate(self, limits: Sequence[Limit]) -> None:
        """Spread calls evenly under these limits, beside the quota; an empty sequence ends that."""
        self.quota = AllOf((self._own_quota, EvenPacer(limits))) if limits else self._own_quota

    def draw(self, now: float, room: int) -> Turn | None:
        """Take the next turn and its place in the quota; a retry that is due precedes a new campaign.

        Returns None if the retries that are due wait for room in their groups.
        """
        self._seen = now
        turn = self._take(now, room)
        if turn is not None:
            self.quota.take(now)
            self.in_flight += 1
            turn.group.in_flight += 1
            turn.order = turn.group.drawn
            turn.group.drawn += 1
            turn.sent_at = now
        return turn

    def give_back(self, turn: Turn) -> None:
        """Note that a drawn turn is not sent."""
        self.in_flight -= 1
        turn.group.in_flight -= 1
        self.quota.give_back(turn.sent_at)

    def put_back(self, turn: Turn, now: float, until: float) -> None:
        """Put a drawn turn back that was not sent; the store is not asked again before `until`."""
        self.give_back(turn)
        self._let_wait(turn, now)
        self.claim_at = max(self.claim_at, until)

    def answered(
        self, turn: Turn, now: float, *, throttled: bool = False, failed: bool = False, has_left: bool = True
    ) -> None:
        """Note the response to a drawn turn, which is held until its outcome is decided."""
        self.in_flight -= 1
        self.held += 1
        turn.group.in_flight -= 1
        if self.claim is not None:
            self.claim.answered() if has_left else self.claim.give_back()
        if has_left:
            self.quota.answered(now, turn.sent_at, throttled=throttled, failed=failed)
        else:
            self.quota.give_back(turn.sent_at)
        if not throttled:
            self.rest.note_let_through(turn.sent_at)

    def again(self, turn: Turn, due: float) -> None:
        """Queue a held turn for its next attempt at `due`."""
        self.held -= 1
        self._let_wait(turn, due)

    def follow(self, turn: Turn, follow_up: FollowUp) -> None:
        """Send the follow-up of a held turn as the next call."""
        self._following += 1
        self.again(Turn(turn.campaign, self, admitted=True, follow_up=follow_up), -math.inf)

    def end(self, turn: Turn) -> None:
        """Note that a held turn has its line."""
        self.held -= 1
        self.left -= 1
        if turn.follow_up is not None and self._follow_up is None:
            self._following -= 1

    def _let_wait(self, turn: Turn, due: float) -> None:
        follows_a_stop = turn.follow_up is not None and self._follow_up is None
        heapq.heappush(self._follow_ups if follows_a_stop else self._waiting, (due, next(self._ties), turn))

    @property
    def has_new(self) -> bool:
        """Whether some campaigns were never drawn."""
        return self._head is not None or bool(self._aside)

    @property
    def is_done(self) -> bool:
        """Whether no campaign is left, in flight, waiting or held."""
        return not self.held and self.is_sent

    @property
    def is_sent(self) -> bool:
        """Whether nothing waits or is in flight; held campaigns may still be retried."""
        waiting = self._follow_ups or self._waiting or self._tries or self._aside
        return self._head is None and not (waiting or self.in_flight)

    def leftover(self) -> Iterator[Turn]:
        """Remove and yield the turns that wait and those never drawn, the most urgent first."""
        while self._follow_ups:
            yield heapq.heappop(self._follow_ups)[2]
        while self._tries:
            yield _pop(self._tries, next(iter(self._tries)))
        while self._waiting:
            yield heapq.heappop(self._waiting)[2]
        while self._aside:
            yield _pop(self._aside, next(iter(self._aside)))
        while self._head is not None:
            turn, self._head = self._head, None  # assigned first, because the input may fail at its next campaign
            yield turn
            self._head = self._next_fresh()

    def _next_fresh(self) -> Turn | None:
        campaign = next(self._fresh, None)
        if campaign is None:
            return None
        if self._due_of is not None:
            self._due = self._due_of(campaign)
        group = OPEN if self._group_of is None else self._group_of(campaign)
        return Turn(campaign, self, group, follow_up=None if self._follow_up is None else self._follow_up(campaign))

    def _take(self, now: float, room: int) -> Turn | None:
        if self._following:
            is_due = self._follow_ups and self._follow_ups[0][0] <= now
            return heapq.heappop(self._follow_ups)[2] if is_due else None
        if self._tries and (turn := _take_with_room(self._tries)) is not None:
            return turn
        while self._waiting and self._waiting[0][0] <= now:
            turn = heapq.heappop(self._waiting)[2]
            if turn.group.has_room:
                return turn
            self._tries.setdefault(turn.group, deque()).append(turn)
        if self.parked:
            return None
        if self._aside and (turn := _take_with_room(self._aside)) is not None:
            return turn
        if self._has_open_head(room):
            head, self._head = self._head, self._next_fresh()
            return head
        return None

    def _may_begin(self, room: int) -> bool:
        if self.parked:
            return False
        return (bool(self._aside) and _has_room(self._aside)) or self._has_open_head(room)

    def _has_open_head(self, room: int) -> bool:
        """Return whether the next new campaign may be sent; sets aside those before it whose groups have no room."""
        while self._head is not None and self._due <= self._seen and self._waits() < room:
            if self._head.group.has_room:
                return True
            head, self._head = self._head, self._next_fresh()
            self._aside.setdefault(head.group, deque()).append(head)
        return False

    def _waits(self) -> int:
        waits = len(self._waiting) + self.held
        if self._tries or self._aside:
            waits += sum(map(len, (*self._tries.values(), *self._aside.values())))
        return waits


def _has_room(aside: dict[Group[Turn], deque[Turn]]) -> bool:
    return any(group.has_room for group in aside)


def _take_with_room(aside: dict[Group[Turn], deque[Turn]]) -> Turn | None:
    group = next((group for group in aside if group.has_room), None)
    return None if group is None else _pop(aside, group)


def _pop(aside: dict[Group[Turn], deque[Turn]], group: Group[Turn]) -> Turn:
    turn = aside[group].popleft()
    if not aside[group]:
        del aside[group]
    return turn


class Lanes:
    """All lanes; the first to be ready is drawn first, and each may have a fair share of the concurrency in flight.

    While no campaign may begin, a lane whose next turn is new is parked: only its retries are drawn. Afterwards the
    lanes continue in the order in which they were parked, one with each draw.
    """

    def __init__(self, lanes: Iterable[Lane], concurrency: int, guards: Guards[Turn] | None = None) -> None:
        self.guards: Guards[Turn] = guards or Guards()
        self._parked: deque[Lane] = deque()
        self._lanes = [lane for lane in lanes if not lane.is_done]
        self._concurrency = concurrency
        self._due: list[tuple[float, int, Lane]] = []
        self._latest: Lane | None = None  # drawn last, and queued only when another may be ready: queueing is dear
        self._tickets = count(1)
        self._open = len(self._lanes)
        self._is_paused = False
        self._share = self._fair_share()
        self._room = max(1, WAITING_RETRIES // max(1, self._open))
        for lane in self._lanes:
            lane.watch(self.guards)
            self._queue(lane, -math.inf)

    @property
    def is_done(self) -> bool:
        """Whether no campaign is left, in flight or waiting."""
        return not self._open

    def draw(self, now: float) -> Turn | float | None:
        """Return a turn to send now; else when to ask again (inf: after a response); else None at the end."""
        if not self._open:
            return None
        if self._is_paused:
            return math.inf
        if (leaves_at := self.guards.leaves_at()) > now:
            return leaves_at
        begins_at = self.guards.begins_at()
        while self._parked and begins_at <= now:
            self._unpark(now)
            if isinstance(drawn := self._draw(now, may_begin=True), Turn):
                return drawn
        drawn = self._draw(now, may_begin=begins_at <= now)
        return min(drawn, begins_at) if self._parked and isinstance(drawn, float) else drawn

    def _draw(self, now: float, *, may_begin: bool) -> Turn | float:
        lane, self._latest = self._latest, None
        if lane is not None:
            is_alone = may_begin and not (self._due and self._due[0][0] <= now)
            if is_alone and (turn := self._draw_from(lane, now)) is not None:
                return turn
            self._queue(lane, now)
        while self._due:
            at, ticket, lane = self._due[0]
            if ticket == lane.ticket and at > now:
                return at
            heapq.heappop(self._due)
            if ticket != lane.ticket:
                continue  # the lane was queued again since, with a newer time
            if not may_begin:
                self._park(lane)
            if (turn := self._draw_from(lane, now)) is not None:
                return turn
            self._queue(lane, now)
        return math.inf

    def _draw_from(self, lane: Lane, now: float) -> Turn | None:
        """Draw a turn from a lane that is not queued, if it is ready."""
        turn = lane.draw(now, self._room) if self._ready_at(lane) <= now else None
        if turn is not None:
            self._latest = lane
            self._note_left(turn, now)
        return turn

    def _note_left(self, turn: Turn, now: float) -> None:
        if not turn.admitted:
            turn.admitted = True
            self.guards.admit()
        if turn.follow_up is None:  # a follow-up call proves nothing about stops, and is no probe
            self.guards.left(now)

    def pause(self, is_paused: bool) -> None:
        """Pause or resume all lanes."""
        self._is_paused = is_paused

    def set_rate(self, limits: Sequence[Limit], now: float) -> None:
        """Spread each account's calls evenly under these limits, beside its quota; an empty sequence ends that."""
        for lane in self._lanes:
            lane.set_rate(limits)
            if not lane.is_done:
                self._queue(lane, now)

    def look_again(self, now: float) -> None:
        """Recompute when each lane is ready: another process may have freed its quota."""
        for lane in self._lanes:
            self.update(lane, now)

    def update(self, lane: Lane, now: float) -> None:
        """Recompute when a lane is ready and whether it is done, after a change to it."""
        self._update(lane, now)
        if lane.sibling is not None and not lane.sibling.is_over:
            self._update(lane.sibling, now)

    def _update(self, lane: Lane, now: float) -> None:
        if not lane.is_done:
            if not lane.queued_at <= now:  # otherwise it is queued already, and ready
                self._queue(lane, now)
        elif not lane.is_over:
            lane.is_over = True
            if lane.claim is not None:
                lane.claim.release()
            self._open -= 1
            self._share = self._fair_share()

    def put_back(self, turn: Turn, now: float, until: float) -> None:
        """Put back a turn that was not sent; the store is not asked for its account before `until`."""
        self._note_unleft(turn)
        turn.lane.put_back(turn, now, until)
        self.update(turn.lane, now)

    def drop(self, turn: Turn, now: float) -> None:
        """Remove a turn just drawn that will never be sent."""
        self._note_unleft(turn)
        turn.lane.give_back(turn)
        turn.lane.left -= 1
        self.guards.released()
        self.update(turn.lane, now)

    def _note_unleft(self, turn: Turn) -> None:
        if turn.follow_up is None:
            self.guards.unleft(turn.sent_at)

    @property
    def held(self) -> list[Lane]:
        """The lanes with campaigns that have a response and no line yet."""
        return [lane for lane in self._lanes if lane.held]

    def is_stuck(self, lane: Lane) -> bool:
        """Return whether a lane can only continue once its held campaigns are decided."""
        return lane.held > 0 and not lane.in_flight and self._ready_at(lane) == math.inf

    def find_wait(self, now: float) -> Wait | None:
        """Return why nothing is sent now, and until when; None if something may be sent or only a response is due."""
        if self._is_paused:
            return Wait(WaitReason.PAUSED, math.inf)
        if (leaves_at := self.guards.leaves_at()) > now:
            return Wait(WaitReason.BREAKER, leaves_at)
        begins, first = self.guards.find_wait(now), None
        for lane in self.unfinished:
            wait = None if lane.in_flight >= self._share else lane.find_wait(now, begins)
            if wait is None:
                return None
            first = wait if first is None or wait.until < first.until else first
        return first

    def find_pace(self) -> PaceFinding | None:
        """Return why calls are slower than the quota permits, from the slowed lane with the most campaigns left."""
        slowed = [(lane.left, finding) for lane in self.unfinished if (finding := lane.quota.finding()) is not None]
        return max(slowed, key=lambda each: each[0])[1] if slowed else None

    def left(self) -> dict[str, int]:
        """Return how many campaigns of each account have not ended yet."""
        return {lane.account_id: lane.left for lane in self._lanes}

    @property
    def answered(self) -> int:
        """The number of campaigns that have a response and have not ended yet."""
        return sum(lane.held for lane in self._lanes)

    @property
    def unfinished(self) -> list[Lane]:
        """The lanes that are not done."""
        return [lane for lane in self._lanes if not lane.is_over]

    @property
    def concurrency(self) -> int:
        """The most calls in flight, over all lanes."""
        return self._concurrency

    def leftover(self) -> Iterator[Turn]:
        """Remove and yield every turn that was never drawn or waits for a retry."""
        for lane in self._lanes:
            yield from lane.leftover()

    def _ready_at(self, lane: Lane) -> float:
        if lane.in_flight >= self._share:  # a fair share: an account whose server hangs must not occupy all the workers
            return math.inf
        return lane.ready_at(self._room)

    def _park(self, lane: Lane) -> None:
        if lane.has_new and not lane.parked:
            lane.parked = True
            self._parked.append(lane)

    def _unpark(self, now: float) -> None:
        lane = self._parked.popleft()
        lane.parked = False
        self._queue(lane, now)

    def _fair_share(self) -> int:
        return math.ceil(self._concurrency / max(1, self._open))

    def _queue(self, lane: Lane, now: float) -> None:
        at = self._ready_at(lane)
        lane.ticket = next(self._tickets)
        # at least now: of the lanes that are ready the one that waited longest is drawn first
        lane.queued_at = max(at, now)
        if at <= now and lane.has_place:  # except lanes with places in hand, which would otherwise be given back
            lane.queued_at, lane.ticket = -math.inf, lane.ticket - AHEAD
        if at < math.inf:
            heapq.heappush(self._due, (lane.queued_at, lane.ticket, lane))
