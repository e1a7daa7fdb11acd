"""Which turn is next: decided by arithmetic alone, so these tests need no loop at all."""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from bulkstop.engine.followup import FollowUp
from bulkstop.engine.guards.admission import Admission
from bulkstop.engine.guards.breaker import Breaker
from bulkstop.engine.guards.guards import Guards
from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.lanes import WAITING_RETRIES, Lane, Lanes, Turn
from bulkstop.engine.limits.quota import NoQuota, RollingWindow
from bulkstop.model import Campaign, FailureCap, Limit, Outcome, Wait, WaitReason, unsent_result
from tests.engine.parts import BUSY, STOPPED, Asking, always, campaign, campaigns

eighths = st.integers(0, 40).map(lambda n: n / 8)


def lane(account_id: str, size: int, limits: Sequence[Limit] = ()) -> Lane:
    """Make a lane of an account."""
    return Lane(account_id, campaigns(size, account_id), RollingWindow(limits) if limits else NoQuota())


async def no_answer() -> float:
    """Be a store that is not asked."""
    raise AssertionError("the store was asked")


def drawn(lanes: Lanes, now: float = 0.0) -> Turn:
    """Draw a turn that must be there."""
    turn = lanes.draw(now)
    assert isinstance(turn, Turn)
    return turn


def all_drawn(lanes: Lanes, now: float = 0.0) -> list[Turn]:
    """Draw until nothing may leave any more."""
    turns = []
    while isinstance(turn := lanes.draw(now), Turn):
        turns.append(turn)
    return turns


def end(lanes: Lanes, turn: Turn, now: float) -> None:
    """Answer a turn for the last time."""
    turn.lane.answered(turn, now)
    release(lanes, turn, now)


def retry(lanes: Lanes, turn: Turn, now: float, due: float) -> None:
    """Answer a turn that is tried again."""
    turn.lane.answered(turn, now)
    retry_held(lanes, turn, now, due)


def hold(lanes: Lanes, turn: Turn, now: float) -> None:
    """Answer a turn whose end is decided later."""
    turn.lane.answered(turn, now)
    lanes.update(turn.lane, now)


def release(lanes: Lanes, turn: Turn, now: float) -> None:
    """End a turn that was answered."""
    turn.lane.end(turn)
    lanes.update(turn.lane, now)


def retry_held(lanes: Lanes, turn: Turn, now: float, due: float) -> None:
    """Let a turn that was answered be tried again."""
    turn.lane.again(turn, due)
    lanes.update(turn.lane, now)


def names(turns: Sequence[Turn]) -> list[str]:
    """Return the accounts of turns."""
    return [turn.lane.account_id for turn in turns]


def test_an_empty_list_is_done_at_once() -> None:
    """Without campaigns there is no turn and nothing to wait for."""
    assert Lanes([], 4).draw(0.0) is None
    assert Lanes([lane("a", 0), lane("b", 0)], 4).draw(0.0) is None


def test_accounts_take_turns() -> None:
    """Among accounts that are ready the one that waited longest is drawn, each in the order of its own list."""
    turns = all_drawn(Lanes([lane("a", 3), lane("b", 3), lane("c", 1)], 99))
    assert names(turns) == ["a", "b", "c", "a", "b", "a", "b"]
    assert [turn.campaign.line for turn in turns if turn.lane.account_id == "a"] == [1, 2, 3]


def test_an_account_gets_no_more_than_its_share_of_the_workers() -> None:
    """While other accounts have work left, one whose calls hang holds its share and no more."""
    lanes = Lanes([lane("a", 50), lane("b", 50), lane("c", 50)], 10)
    assert Counter(names(all_drawn(lanes))) == {"a": 4, "b": 4, "c": 4}
    assert lanes.draw(0.0) == math.inf


def test_the_share_grows_when_an_account_is_done() -> None:
    """The last account with work left may use every worker."""
    lanes = Lanes([lane("a", 50), lane("b", 1)], 8)
    first = all_drawn(lanes)
    assert Counter(names(first)) == {"a": 4, "b": 1}
    for turn in first:
        end(lanes, turn, 0.0)
    assert Counter(names(all_drawn(lanes))) == {"a": 8}


def test_even_more_accounts_than_workers_all_get_a_turn() -> None:
    """A share is at least one call."""
    lanes = Lanes([lane(f"a{number}", 2) for number in range(20)], 4)
    assert Counter(names(all_drawn(lanes))) == {f"a{number}": 1 for number in range(20)}


def test_a_due_retry_goes_before_a_new_campaign() -> None:
    """A campaign that was tried is finished before another one is begun; until it is due, others go."""
    lanes = Lanes([lane("a", 3)], 1)
    first = drawn(lanes)
    retry(lanes, first, 0.0, 5.0)
    second = drawn(lanes, 4.9)
    assert second.campaign.line == 2
    end(lanes, second, 5.0)
    assert drawn(lanes, 5.0) is first


def test_a_retry_is_not_starved_by_another_account() -> None:
    """A due retry precedes the next campaign of another account, so that a long list cannot delay it."""
    lanes = Lanes([lane("a", 1), lane("b", 100)], 2)
    first = drawn(lanes)
    retry(lanes, first, 0.0, 5.0)
    for _ in range(10):
        end(lanes, drawn(lanes, 4.0), 4.0)
    turns = [drawn(lanes, 6.0)]
    end(lanes, turns[0], 6.0)
    turns.append(drawn(lanes, 6.0))
    assert first in turns


def test_retries_come_in_the_order_in_which_they_are_due() -> None:
    """The earliest of several waiting retries is sent first, and the answer has its time."""
    lanes = Lanes([lane("a", 3)], 3)
    turns = all_drawn(lanes)
    for turn, due in zip(turns, (9.0, 3.0, 6.0), strict=True):
        retry(lanes, turn, 0.0, due)
    assert lanes.draw(0.0) == 3.0
    assert drawn(lanes, 3.0) is turns[1]
    assert lanes.draw(3.0) == 6.0
    assert [turn.campaign.line for turn in all_drawn(lanes, 9.0)] == [3, 1]


def test_a_pause_holds_the_whole_account_and_no_other() -> None:
    """A throttled account sends neither new campaigns nor due retries until its pause is over."""
    lanes = Lanes([lane("a", 3), lane("b", 3)], 99)
    first, other = drawn(lanes), drawn(lanes)
    first.lane.rest.extend(10.0)
    retry(lanes, first, 0.0, 2.0)
    assert names(all_drawn(lanes, 9.5)) == ["b", "b"]
    assert lanes.draw(9.5) == 10.0
    assert names(all_drawn(lanes, 10.0)) == ["a", "a", "a"]
    assert other.lane.in_flight == 3


def test_a_pause_is_never_shortened() -> None:
    """Of two stated waits the longer one holds, in any order."""
    lanes = Lanes([lane("a", 3)], 2)
    for turn, until in zip(all_drawn(lanes), (30.0, 10.0), strict=True):
        turn.lane.rest.extend(until)
        end(lanes, turn, 0.0)
    assert lanes.draw(0.0) == 30.0


def test_quota_holds_an_account_and_no_other() -> None:
    """An account at its limit returns when it continues; the others do not wait for it."""
    lanes = Lanes([lane("a", 5, [Limit(2, 60)]), lane("b", 5)], 99)
    turns = all_drawn(lanes)
    assert Counter(names(turns)) == {"a": 2, "b": 5}
    for turn in turns:
        end(lanes, turn, 1.0)
    assert lanes.draw(1.0) == 61.0
    assert names(all_drawn(lanes, 61.0)) == ["a", "a"]


def test_retries_use_the_quota_too() -> None:
    """A limit counts tries, not campaigns."""
    lanes = Lanes([lane("a", 1, [Limit(1, 60)])], 1)
    retry(lanes, drawn(lanes), 1.0, 2.0)
    assert lanes.draw(2.0) == 61.0


def test_waiting_retries_are_bounded_and_hold_up_only_their_own_account() -> None:
    """An account with its full number of waiting retries takes no new campaign until one is due; others continue."""
    taken = count(1)

    def endless() -> Iterator[Campaign]:
        for number in taken:
            yield campaign(number)

    lanes = Lanes([Lane("a", endless(), NoQuota()), lane("b", 1)], 2)
    quiet = drawn(lanes)
    assert quiet.lane.account_id == "a"
    other = drawn(lanes)
    retry(lanes, quiet, 0.0, 100.0)
    while isinstance(turn := lanes.draw(0.0), Turn):
        retry(lanes, turn, 0.0, 100.0)
    assert turn == 100.0
    assert next(taken) - 2 == WAITING_RETRIES // 2  # two accounts share the room; one more was read ahead
    end(lanes, other, 0.0)
    assert drawn(lanes, 100.0) is quiet


def test_leftover_is_everything_that_has_no_result() -> None:
    """Waiting campaigns are returned with their attempts, others without."""
    lanes = Lanes([lane("a", 4), lane("b", 2)], 2)
    tried, settled = drawn(lanes), drawn(lanes)
    retry(lanes, tried, 0.0, 5.0)
    end(lanes, settled, 0.0)
    left = list(lanes.leftover())
    assert left[0] is tried
    assert [(turn.lane.account_id, turn.campaign.line) for turn in left] == [
        ("a", 1),
        ("a", 2),
        ("a", 3),
        ("a", 4),
        ("b", 2),
    ]
    assert list(lanes.leftover()) == []


# --- setting aside --------------------------------------------------------------------------------------------------


def mixed(*streams: str) -> list[Campaign]:
    """Make campaigns 1, 2, 3 … of one account, in these streams."""
    return [campaign(number, "a")._replace(stream_id=stream) for number, stream in enumerate(streams, 1)]


def watched(
    rows: Iterable[Campaign], concurrency: int = 99, admission: Admission | None = None
) -> tuple[Lanes, ScopeBreaker[Turn]]:
    """Make the one lane of an account whose groups begin slowly."""
    groups = ScopeBreaker[Turn]()
    return Lanes([Lane("a", rows, NoQuota())], concurrency, Guards(admission, None, groups)), groups


def lines(turns: Iterable[Turn]) -> list[int]:
    """Return the lines of turns."""
    return [turn.campaign.line for turn in turns]


def test_rows_of_a_group_without_room_let_others_of_the_account_go_by() -> None:
    """One campaign of each group is sent; the others wait in their lane for its answer, in order."""
    lanes, groups = watched(mixed("s", "s", "s", "t", "s", "t", "u"))
    first = all_drawn(lanes)
    assert lines(first) == [1, 4, 7]
    assert lanes.draw(0.0) == math.inf
    groups.of(first[0].campaign).limit = 2
    end(lanes, first[0], 1.0)
    assert lines(all_drawn(lanes, 1.0)) == [2, 3]
    groups.of(first[0].campaign).limit = 9
    end(lanes, first[1], 1.0)
    assert lines(all_drawn(lanes, 1.0)) == [5, 6]
    assert groups.of(first[0].campaign).in_flight == 3


def test_what_was_set_aside_goes_before_what_comes_later() -> None:
    """A group with room again continues with its waiting campaigns, before new ones of the list."""
    lanes, _ = watched(mixed("s", "s", "t", *"uuu"), 3)
    turns = [drawn(lanes), drawn(lanes)]
    assert lines(turns) == [1, 3]
    end(lanes, turns[0], 1.0)
    assert lines(all_drawn(lanes, 1.0)) == [2, 4]


def test_a_due_try_goes_before_what_was_set_aside() -> None:
    """A campaign that was begun is finished before another of its group is begun."""
    lanes, _ = watched(mixed(*"sss"))
    first = drawn(lanes)
    assert lanes.draw(0.0) == math.inf
    retry(lanes, first, 0.0, 5.0)
    second = drawn(lanes, 1.0)
    assert second.campaign.line == 2
    end(lanes, second, 6.0)
    assert drawn(lanes, 6.0) is first


def test_tries_that_wait_for_room_go_before_new_campaigns_in_the_order_in_which_they_were_due() -> None:
    """Begun campaigns are finished first, the oldest before the others."""
    lanes, groups = watched(mixed(*"sssss"))
    group = groups.of(campaign(1, "a")._replace(stream_id="s"))
    group.limit = 4
    first, second, third, fourth = all_drawn(lanes)
    group.limit = 1
    for turn, due in ((first, 3.0), (second, 1.0), (third, 2.0)):
        retry(lanes, turn, 0.0, due)
    assert lanes.draw(5.0) == math.inf  # the fourth is its call in flight
    retry(lanes, fourth, 6.0, 6.0)
    order = []
    for _ in range(5):
        turn = drawn(lanes, 7.0)
        assert lanes.draw(7.0) in (math.inf, None)
        order.append(turn.campaign.line)
        end(lanes, turn, 7.0)
    assert order == [2, 3, 1, 4, 5]
    assert lanes.is_done


def test_what_is_set_aside_or_held_is_bounded() -> None:
    """A lane reads no further ahead than its room, so memory is bounded with any list."""
    taken = count(1)
    lanes, groups = watched(campaign(number, "a") for number in taken)
    first = drawn(lanes)
    assert lanes.draw(0.0) == math.inf
    assert next(taken) == WAITING_RETRIES + 3  # with the one in flight and the one that was read ahead
    hold(lanes, first, 0.0)
    assert lines([drawn(lanes)]) == [2]
    groups.of(first.campaign).limit = 10
    lanes.update(first.lane, 0.0)
    assert lines(all_drawn(lanes)) == list(range(3, 12))


def test_while_admission_is_closed_only_tries_that_were_set_aside_go_on() -> None:
    """A parked lane begins nothing new, also of what it has set aside; the try that waits for room leaves."""
    admission = Admission(waves=[2, 100])
    lanes, groups = watched(mixed("s", "s", "s", "t"), admission=admission)
    first, other = all_drawn(lanes)
    assert lines([first, other]) == [1, 4]
    retry(lanes, first, 0.0, 1.0)
    assert drawn(lanes, 1.0) is first
    groups.of(first.campaign).limit = 9
    retry(lanes, first, 2.0, 2.0)
    assert lines(all_drawn(lanes, 2.0)) == [1]
    for turn in (first, other):
        end(lanes, turn, 3.0)
        admission.settled(Outcome.STOPPED, 3.0, turn.campaign.campaign_id)
    assert lines(all_drawn(lanes, 3.0)) == [2, 3]


def test_a_lane_is_stuck_when_only_what_it_holds_could_move_it() -> None:
    """With a call in flight, a try to come or a campaign that may leave it is not; with what waits for room it is."""
    lanes, groups = watched(mixed("s", "s", "t"))
    first, other = all_drawn(lanes)
    assert not lanes.is_stuck(first.lane)
    groups.of(first.campaign).limit = 0
    hold(lanes, first, 0.0)
    assert not lanes.is_stuck(first.lane)
    retry(lanes, other, 0.0, 5.0)
    assert not lanes.is_stuck(first.lane)
    end(lanes, drawn(lanes, 5.0), 5.0)
    assert lanes.is_stuck(first.lane)
    assert not first.lane.is_sent
    groups.of(first.campaign).limit = 1
    assert not lanes.is_stuck(first.lane)


def test_what_is_held_counts_until_it_is_released_or_tried_again() -> None:
    """A lane with held campaigns is not done; a held one that is tried again leaves when it is due."""
    lanes, _ = watched(mixed("s", "t"))
    turns = all_drawn(lanes)
    for turn in turns:
        hold(lanes, turn, 0.0)
    assert (lanes.is_done, turns[0].lane.is_done, turns[0].lane.is_sent) == (False, False, True)
    assert lanes.held == [turns[0].lane]
    release(lanes, turns[0], 1.0)
    retry_held(lanes, turns[1], 1.0, 4.0)
    assert (lanes.held, lanes.draw(1.0)) == ([], 4.0)
    assert drawn(lanes, 4.0) is turns[1]
    end(lanes, turns[1], 5.0)
    assert lanes.is_done


def test_leftover_has_what_was_set_aside() -> None:
    """Tries first, then what waits for room, then what was never looked at, each once."""
    lanes, _ = watched(mixed("s", "s", "t", "s", "u"))
    first, second, third = all_drawn(lanes)
    retry(lanes, second, 0.0, 9.0)
    for turn in (first, third):
        end(lanes, turn, 0.0)
    assert lines(lanes.leftover()) == [3, 2, 4]
    assert list(lanes.leftover()) == []


# --- whatever the answers -------------------------------------------------------------------------------------------

# For each call in turn: seconds to its answer, seconds to the next try or None, and whether the account is to pause.
answers = st.lists(st.tuples(eighths, st.none() | eighths, st.booleans()), min_size=1, max_size=12)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5),
    answers,
    st.integers(1, 6),
    st.none() | st.builds(Limit, st.integers(1, 4), eighths.filter(bool)),
)
def test_no_campaign_is_lost_and_no_wait_is_for_nothing(
    sizes: list[int], script: list[tuple[float, float | None, bool]], workers: int, limit: Limit | None
) -> None:
    """For any responses: each campaign is settled once, shares hold, every wait ends, no idle lane is left."""
    own = [lane(f"a{number}", size, [limit] if limit else []) for number, size in enumerate(sizes)]
    lanes, now, ties, calls = Lanes(own, workers), 0.0, count(), count()
    flying: list[tuple[float, int, Turn, float | None, bool]] = []
    settled: list[str] = []
    while True:
        found = lanes.draw(now) if len(flying) < workers else math.inf
        if isinstance(found, Turn):
            number = next(calls)
            latency_s, again_s, pauses = script[number % len(script)]
            is_last = found.tries.attempts == 3
            found.tries = found.tries.counted(BUSY)
            share = math.ceil(workers / sum(not one.is_done for one in own))
            assert found.lane.in_flight <= max(1, share)
            heapq.heappush(flying, (now + latency_s, next(ties), found, None if is_last else again_s, pauses))
            continue
        if found is None:
            break
        assert found > now
        if len(flying) < workers:
            assert all(one.in_flight or one.is_done or one.ready_at(WAITING_RETRIES) > now for one in own)
        assert flying or found < math.inf
        if not flying or found < flying[0][0]:
            now = found
            continue
        now, _, turn, again_s, pauses = heapq.heappop(flying)
        if pauses:
            turn.lane.rest.extend(now + 2.0)
        if again_s is None:
            settled.append(turn.campaign.campaign_id)
            end(lanes, turn, now)
        else:
            retry(lanes, turn, now, now + again_s)
    assert not flying
    assert list(lanes.leftover()) == []
    assert sorted(settled) == sorted(f"cd-a{n}-{line}" for n, size in enumerate(sizes) for line in range(1, size + 1))


def test_a_follow_up_call_goes_before_the_next_campaign() -> None:
    """It has a place of its own in the quota; before it has ended none is begun, and no try is made that is due."""
    lanes = Lanes([lane("a", 3, [Limit(2, 10.0)])], 2)
    first, second = all_drawn(lanes)
    retry(lanes, first, 1.0, 1.0)
    second.lane.answered(second, 1.0)
    second.lane.follow(
        second, FollowUp(always(STOPPED).send, lambda last: unsent_result(second.campaign, last.outcome, ""), "")
    )
    lanes.update(second.lane, 1.0)
    assert lanes.draw(1.0) == 11.0
    (follow_up,) = all_drawn(lanes, 11.0)
    assert follow_up.follow_up is not None
    assert lanes.draw(30.0) == math.inf
    end(lanes, follow_up, 30.0)
    assert all_drawn(lanes, 31.0) == [first]
    end(lanes, first, 32.0)
    assert [turn.campaign.line for turn in all_drawn(lanes, 43.0)] == [3]


class TestWaits:
    """Why nothing leaves, and until when: each reason by itself."""

    def test_none(self) -> None:
        """Nothing is waited for where a campaign may leave, and where only an answer brings one."""
        lanes = Lanes([lane("a", 2)], 1)
        assert lanes.find_wait(0.0) is None
        turn = drawn(lanes)
        assert lanes.find_wait(0.0) is None
        end(lanes, turn, 0.0)
        end(lanes, drawn(lanes), 0.0)
        assert lanes.find_wait(0.0) is None

    def test_paused(self) -> None:
        """A paused run reports the pause as its reason to wait, whatever else delays it."""
        lanes = Lanes([lane("a", 1, [Limit(1, 10.0)])], 4)
        lanes.pause(True)
        assert lanes.find_wait(0.0) == Wait(WaitReason.PAUSED, math.inf)
        lanes.pause(False)
        assert lanes.find_wait(0.0) is None

    def test_breaker(self) -> None:
        """A service that is down is asked again when the next probe is due; while that is out, by its answer."""
        breaker = Breaker(1, first_pause_s=2.0)
        lanes = Lanes([lane("a", 3)], 4, Guards(None, breaker))
        turn = drawn(lanes)
        breaker.answered(1.0, turn.sent_at, Outcome.SERVER_ERROR)
        end(lanes, turn, 1.0)
        assert lanes.find_wait(1.0) == Wait(WaitReason.BREAKER, 3.0)
        drawn(lanes, 3.0)
        assert lanes.find_wait(3.0) == Wait(WaitReason.BREAKER, math.inf)

    def test_throttled(self) -> None:
        """A throttled account waits until the time it was given."""
        resting = lane("a", 1)
        resting.rest.extend(7.0)
        lanes = Lanes([resting], 4)
        assert lanes.find_wait(6.9) == Wait(WaitReason.THROTTLED, 7.0)
        assert lanes.find_wait(7.0) is None

    def test_store(self) -> None:
        """A call that the store did not permit waits until it is asked again."""
        lanes = Lanes([lane("a", 1)], 4)
        lanes.put_back(drawn(lanes), 0.0, 3.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.QUOTA, 3.0)

    def test_store_that_is_away(self) -> None:
        """While the store does not answer it is the store that is waited for."""
        only = lane("a", 1)
        only.claim = claim = Asking(no_answer)
        lanes = Lanes([only], 4)
        lanes.put_back(drawn(lanes), 0.0, 3.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.QUOTA, 3.0)
        claim.is_away = True
        assert lanes.find_wait(0.0) == Wait(WaitReason.STORE, 3.0)

    def test_quota(self) -> None:
        """A window that is full waits for the first place in it; what holds an account up the longest is named."""
        full = lane("a", 2, [Limit(1, 10.0)])
        lanes = Lanes([full], 4)
        end(lanes, drawn(lanes), 0.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.QUOTA, full.quota.ready_at())
        full.rest.extend(5.0)
        wait = lanes.find_wait(0.0)
        assert wait is not None
        assert wait.reason is WaitReason.QUOTA
        full.rest.extend(60.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.THROTTLED, 60.0)

    def test_wave(self) -> None:
        """The next wave waits for the end of the one before, then for the time between the two."""
        guards: Guards[Turn] = Guards(Admission(waves=[1, 100], soak_s=9.0))
        lanes = Lanes([lane("a", 3)], 4, guards)
        turn = drawn(lanes)
        assert lanes.find_wait(0.0) == Wait(WaitReason.WAVE, math.inf)
        guards.settled(Outcome.STOPPED, 2.0, turn.campaign.campaign_id, None)
        end(lanes, turn, 2.0)
        assert lanes.find_wait(2.0) == Wait(WaitReason.SOAK, 11.0)
        assert lanes.find_wait(11.0) is None

    def test_cap(self) -> None:
        """With as many under way as may fail, the next one waits for their answers."""
        lanes = Lanes([lane("a", 3)], 4, Guards(Admission(FailureCap(1))))
        drawn(lanes)
        assert lanes.find_wait(0.0) == Wait(WaitReason.CAP, math.inf)

    def test_ramp(self) -> None:
        """A group that begins has one call out; the others wait for its answer."""
        groups: ScopeBreaker[Turn] = ScopeBreaker()
        lanes = Lanes([lane("a", 3)], 4, Guards(None, None, groups))
        drawn(lanes)
        assert lanes.find_wait(0.0) == Wait(WaitReason.RAMP, math.inf)

    def test_retry(self) -> None:
        """Without new campaigns, the first due attempt is the reason; with a wave, whichever comes first."""
        lanes = Lanes([lane("a", 2)], 4)
        first, second = drawn(lanes), drawn(lanes)
        retry(lanes, first, 0.0, 5.0)
        retry(lanes, second, 0.0, 4.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.RETRY, 4.0)
        assert lanes.find_wait(4.0) is None
        waves = Lanes([lane("a", 3)], 4, Guards(Admission(waves=[1, 100])))
        retry(waves, drawn(waves), 0.0, 5.0)
        assert waves.find_wait(0.0) == Wait(WaitReason.RETRY, 5.0)

    def test_list(self) -> None:
        """Campaigns that only a list can decide wait for it once nothing else is left."""
        lanes = Lanes([lane("a", 2)], 4)
        hold(lanes, drawn(lanes), 0.0)
        assert lanes.find_wait(0.0) is None
        hold(lanes, drawn(lanes), 0.0)
        assert lanes.find_wait(0.0) == Wait(WaitReason.LIST, math.inf)

    def test_several_accounts(self) -> None:
        """Of several waiting accounts, the next to continue is named; one that may continue is no wait."""
        late, early = lane("a", 1), lane("b", 1)
        late.rest.extend(60.0)
        early.rest.extend(7.0)
        assert Lanes([late, early], 4).find_wait(0.0) == Wait(WaitReason.THROTTLED, 7.0)
        assert Lanes([late, lane("c", 1)], 4).find_wait(0.0) is None
