"""Runs that are cut off in any way, and taken up again: the lines tell the truth about every row, and nothing is lost.

The ledger here is a list of lines in the order of writing, of which the latest of a row is its state.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.guards.scopes import ScopeBreaker
from bulkstop.engine.readback import ListedState
from bulkstop.engine.retry import THROTTLES
from bulkstop.errors import BulkstopError, CredentialsError, OutputError
from bulkstop.model import DONE, LEFT, Attempt, Campaign, Limit, Outcome, Report, Result, RetryHint, Send
from tests.engine.parts import (
    AT_REST,
    BUSY,
    CLAIM,
    RENEWED,
    RUNS,
    STOPPED,
    Job,
    Lists,
    Reply,
    accounts,
    campaigns,
    throttled,
)
from tests.virtual_time import VirtualLoop, run

GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
LATE = Attempt(Outcome.TIMEOUT, RetryHint.LATER, error="no answer within 30 s; the stop may have arrived")
BEFORE = Attempt(Outcome.ALREADY_STOPPED, http_status=409)


# --- a service that remembers, a ledger, and what ends a run --------------------------------------------------------


@dataclass(slots=True, eq=False)
class Call:
    """A call as the service saw it; one that was cut off has no answer, but may have arrived."""

    campaign: Campaign
    answer: Attempt | None = None
    arrived: bool = False


class Remembering:
    """A service that knows what it has stopped, over all runs; the n-th call of a campaign gets what `script` says."""

    def __init__(self, script: Sequence[Reply]) -> None:
        self.stopped: set[str] = set()
        self.log: list[Call] = []
        self._script = script
        self._tries: Counter[str] = Counter()

    async def send(self, campaign: Campaign) -> Attempt:
        """Serve one call: half of its time it is on the way there, half of it the answer is on the way back."""
        call = Call(campaign)
        self.log.append(call)
        self._tries[campaign.campaign_id] += 1
        latency_s, answer = self._script[(campaign.line * 5 + self._tries[campaign.campaign_id]) % len(self._script)]
        assert isinstance(answer, Attempt)
        try:
            await asyncio.sleep(latency_s / 2)
        except asyncio.CancelledError:
            if campaign.line % 2:  # what is on its way may arrive, or not
                self._arrive(call, answer)
            raise
        answer = self._arrive(call, answer)
        await asyncio.sleep(latency_s / 2)
        call.answer = answer
        return answer

    def _arrive(self, call: Call, answer: Attempt) -> Attempt:
        if answer not in (STOPPED, LATE):
            return answer
        call.arrived = True
        was_stopped = call.campaign.campaign_id in self.stopped
        self.stopped.add(call.campaign.campaign_id)
        return BEFORE if was_stopped and answer is STOPPED else answer


class How(StrEnum):
    """What ends a run early."""

    DRAIN = "drain"
    ABORT = "abort"
    DRAIN_ABORT = "drain, then abort"
    CANCEL = "cancel"
    CRASH = "crash"
    FULL = "no line can be written"
    NO_TOKEN = "no token can be had"


class Cut(NamedTuple):
    """An end: after so many rounds of the loop, or lines (FULL), or calls (NO_TOKEN).

    A crash also takes the last `lost` lines with it, which the system had not put on the disk yet.
    """

    how: How
    after: int
    lost: int = 0


Key = tuple[str | None, int | None, str]


def key(row: Campaign | Result) -> Key:
    """Tie a line to its row."""
    return row.source, row.line, row.campaign_id


def is_final(line: Result) -> bool:
    """Return whether a row is settled: it has an outcome, and was not cut off between two attempts."""
    return line.outcome not in LEFT and (line.started_at is None or line.finished_at is not None)


def unfinished(rows: Iterable[Campaign], ledger: Sequence[Result]) -> list[Campaign]:
    """Return the rows that a resume takes up: those whose latest line is not final, or that have none."""
    latest = {key(line): line for line in ledger}
    return [row for row in rows if (line := latest.get(key(row))) is None or not is_final(line)]


@dataclass(slots=True)
class Session:
    """One run over unfinished rows: its rows, the lines in the ledger, and the calls at the service."""

    rows: list[Campaign]
    cut: Cut | None
    offered: list[Result] = field(default_factory=list)
    written: list[Result] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    unwritten: list[Result] = field(default_factory=list)
    was_cut: bool = False
    is_dead: bool = False

    @property
    def sent(self) -> set[str]:
        """Return the campaigns for which a call was made."""
        return {call.campaign.campaign_id for call in self.calls}


@dataclass(frozen=True, slots=True)
class Setting:
    """The common settings of all runs of an example."""

    limits: list[Limit]
    concurrency: int
    attempts: int


def carried_out(
    rows: list[Campaign], cut: Cut | None, service: Remembering, setting: Setting, lists: Lists | None = None
) -> Session:
    """Run a pool over the rows until it ends, or is ended."""
    session, loop, seen = Session(rows, cut), VirtualLoop(), len(service.log)
    job = Job(
        rows,
        sending(session, service),
        limits=setting.limits,
        concurrency=setting.concurrency,
        attempts=setting.attempts,
        report=reporting(session),
        scopes=None if lists is None else ScopeBreaker(can_list=True),
        lists=lists,
    )

    async def main() -> None:
        task = asyncio.create_task(job.pool.run())
        await asyncio.sleep(0)
        if cut is not None:
            for later, act in acts(cut.how, session, job, task).items():
                loop.at_step(loop.step + 1 + cut.after + later, act)
        await asyncio.wait([task])
        if not task.cancelled() and (fault := task.exception()) is not None:
            assert isinstance(fault, BulkstopError), fault

    run(main(), loop=loop)
    session.calls = service.log[seen:]
    session.unwritten = job.pool.unwritten
    if session.is_dead and cut is not None and cut.lost:
        del session.written[-cut.lost :]
    assert job.pool.in_flight == 0
    return session


def acts(how: How, session: Session, job: Job, task: "asyncio.Task[None]") -> dict[int, Callable[[], None]]:
    """Return what is done from outside to end a run, each act so many rounds after the first."""

    def ending(*acts: Callable[[], object]) -> Callable[[], None]:
        def end() -> None:
            session.was_cut = True
            session.is_dead = how is How.CRASH
            for act in acts:
                act()

        return end

    ends = {
        How.DRAIN: {0: ending(job.pool.drain)},
        How.ABORT: {0: ending(job.pool.abort)},
        How.DRAIN_ABORT: {0: ending(job.pool.drain), 3: ending(job.pool.abort)},
        How.CANCEL: {0: ending(task.cancel)},
        How.CRASH: {0: ending(job.pool.abort, task.cancel)},  # no answer is heard and no line written from then on
    }
    return ends.get(how, {})


def sending(session: Session, service: Remembering) -> Send:
    """Make the Send of a session, which may run out of tokens."""
    calls = 0

    async def send(campaign: Campaign) -> Attempt:
        nonlocal calls
        if session.cut is not None and session.cut.how is How.NO_TOKEN and calls >= session.cut.after:
            session.was_cut = True
            raise CredentialsError("the token expired")
        calls += 1
        return await service.send(campaign)

    return send


def reporting(session: Session) -> Report:
    """Return the Report of a session, whose disk may be full."""

    def report(results: Sequence[Result]) -> None:
        if session.is_dead:
            return
        session.offered += results
        lines = len(session.written) + len(results)
        if session.cut is not None and session.cut.how is How.FULL and lines > session.cut.after:
            session.was_cut = True
            raise OutputError("out.jsonl: no space left on device")
        session.written += results

    return report


# --- what has to be true --------------------------------------------------------------------------------------------


def check_session(session: Session, setting: Setting) -> None:
    """Check a single run: it sends only what it was given, and each row has one true line."""
    rows, offered = Counter(map(key, session.rows)), Counter(map(key, session.offered))
    given_ids = {row.campaign_id for row in session.rows}
    assert session.sent == given_ids if not session.was_cut else session.sent <= given_ids
    assert offered == rows if not session.is_dead else offered <= rows
    for line in session.offered:
        check_line(line, calls_of(line.campaign_id, session.calls), setting.attempts)
    if not session.is_dead:
        lost = [line for line in session.offered if line not in session.written]
        assert session.unwritten == [line for line in lost if line.outcome is not Outcome.NOT_SENT]
        assert sum(map(is_final, session.unwritten)) <= setting.concurrency, "went on without a ledger"


def check_line(line: Result, calls: Sequence[Call], attempts: int) -> None:
    """Check a line against the calls of its campaign in the same run."""
    answers = [call.answer for call in calls if call.answer is not RENEWED]
    if is_final(line):
        assert is_over(calls, attempts), "final, and not over"
        last = calls[-1].answer
        assert last is not None
        assert line.outcome is last.outcome
    elif line.outcome is Outcome.NOT_SENT:
        assert not answers, "sent, and said not to be"
    elif line.outcome is Outcome.UNKNOWN:
        assert answers[-1] is None, "answered, and said not to be"
    else:
        assert not is_over(calls, attempts), "over, and not final"
        assert answers[-1] is not None
        assert line.outcome is answers[-1].outcome


def is_over(calls: Sequence[Call], attempts: int) -> bool:
    """Say, from the rules alone, whether a campaign with these calls in one run gets no further try there."""
    answers = [call.answer for call in calls]
    last = answers[-1] if answers else None
    if last is None:
        return False
    if last.again is RetryHint.NOW:
        return sum(answer is RENEWED for answer in answers) > 1
    if last.again is RetryHint.THROTTLED:
        return sum(answer is not None and answer.again is RetryHint.THROTTLED for answer in answers) >= THROTTLES
    return last.again is RetryHint.NO or tries(answers) >= attempts


def tries(answers: Iterable[Attempt | None]) -> int:
    """Count what costs an attempt: not what was throttled, and not the first refused token."""
    counted = [answer for answer in answers if answer is not None and answer.again is not RetryHint.THROTTLED]
    return len(counted) - (RENEWED in counted)


def check_sent_again(sessions: Sequence[Session], setting: Setting) -> None:
    """Check what the last run sent again: only what had no final line, for one of the reasons that there are."""
    for before in sessions[:-1]:
        again = sessions[-1].sent & before.sent
        in_flight = {call.campaign.campaign_id for call in before.calls if call.answer is None}
        between_tries = {
            one for one in before.sent - in_flight if not is_over(calls_of(one, before.calls), setting.attempts)
        }
        unsaid = {line.campaign_id for line in before.offered if line not in before.written}
        said = {line.campaign_id for line in before.offered}
        just_answered = before.sent - in_flight - said if before.is_dead else set()  # killed before the line
        assert again <= in_flight | between_tries | unsaid | just_answered
        arrived = {call.campaign.campaign_id for call in before.calls if call.answer is None and call.arrived}
        arrived |= just_answered - between_tries
        assert len(again & arrived) <= setting.concurrency


def calls_of(campaign_id: str, calls: Iterable[Call]) -> list[Call]:
    """Return the calls of a campaign."""
    return [call for call in calls if call.campaign.campaign_id == campaign_id]


def check_end(rows: Sequence[Campaign], ledger: Sequence[Result], service: Remembering) -> None:
    """Check the ledger after the last run has finished."""
    assert not unfinished(rows, ledger)
    assert Counter(key(line) for line in ledger if is_final(line)) == Counter(map(key, rows)), "a state was changed"
    assert {call.campaign.campaign_id for call in service.log} == {row.campaign_id for row in rows}
    assert {line.campaign_id for line in ledger if line.outcome in DONE} <= service.stopped


def cut_and_resumed(
    rows: Sequence[Campaign], script: Sequence[Reply], setting: Setting, cuts: Iterable[Cut]
) -> list[Session]:
    """Run with each of the cuts in turn, then to the end, and check all that has to be true on the way."""
    service, ledger, sessions = Remembering(script), list[Result](), list[Session]()
    for cut in [*cuts, None]:
        session = carried_out(unfinished(rows, ledger), cut, service, setting)
        sessions.append(session)
        check_session(session, setting)
        check_sent_again(sessions, setting)
        ledger += session.written
        if session.offered == session.written and not session.is_dead:
            assert set(map(key, ledger)) == set(map(key, rows)), "rows are not lines"
    check_end(rows, ledger, service)
    return sessions


# --- any interleaving -----------------------------------------------------------------------------------------------

replies = st.builds(
    Reply,
    st.integers(0, 40).map(lambda n: n / 8),
    st.sampled_from([STOPPED, STOPPED, STOPPED, GONE, BUSY, LATE, RENEWED, throttled(), throttled(2.0)]),
)
some_settings = st.builds(
    Setting,
    st.sampled_from([[], [Limit(2, 3)], [Limit(1, 1), Limit(3, 10)]]),
    st.integers(1, 6),
    st.integers(1, 3),
)
some_cuts = st.builds(Cut, st.sampled_from(How), st.integers(0, 40), st.integers(0, 3))


@settings(max_examples=150)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=3),
    st.lists(replies, min_size=1, max_size=9),
    some_settings,
    st.lists(some_cuts, max_size=5),
)
def test_any_interleaving_of_ends_and_resumes_keeps_rows_equal_to_lines(
    sizes: list[int], script: list[Reply], setting: Setting, cuts: list[Cut]
) -> None:
    """Each row gets exactly one final line, a true one; a resume sends what has none, and nothing that has one."""
    rows = [one for number, size in enumerate(sizes) for one in campaigns(size, f"a{number}")]
    cut_and_resumed(rows, script, setting, cuts)


answers_and_claims = st.builds(
    Reply,
    st.integers(0, 16).map(lambda n: n / 8),
    st.sampled_from([STOPPED, STOPPED, GONE, GONE, BUSY, RENEWED, CLAIM, CLAIM, CLAIM]),
)


@settings(max_examples=150)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.lists(answers_and_claims, min_size=1, max_size=9),
    some_settings,
    st.lists(some_cuts, max_size=5),
    st.sampled_from([AT_REST, RUNS, None]),
)
def test_what_waits_for_a_list_is_finished_by_a_resume(
    sizes: list[int], script: list[Reply], setting: Setting, cuts: list[Cut], state: ListedState | None
) -> None:
    """With refused groups and claims, cut off in any way: one line a row, final ones stay, and what is left is open.

    A campaign that the list has at rest and the service claims not to run was stopped before; a stale row is final only
    when its list lacks it, or its group has worked.
    """
    rows = [one for number, size in enumerate(sizes) for one in campaigns(size, f"a{number}")]
    lists = Lists(lambda of, number: {} if state is None else {one.campaign_id: state for one in rows}, 0.5)
    service, ledger = Remembering(script), list[Result]()
    for cut in [*cuts, None]:
        session = carried_out(unfinished(rows, ledger), cut, service, setting, lists)
        offered, given = Counter(map(key, session.offered)), Counter(map(key, session.rows))
        assert offered == given if not session.is_dead else offered <= given
        ledger += session.written
        for line in session.offered:
            last = [call.answer for call in calls_of(line.campaign_id, session.calls)][-1:]
            assert (
                line.outcome is not Outcome.ALREADY_STOPPED
                or (state is AT_REST and last == [CLAIM])
                or last == [BEFORE]
            )
            assert line.outcome is not Outcome.STOPPED or last == [STOPPED]
            assert not is_final(line) or last not in ([], [None])
    for row in unfinished(rows, ledger):
        line = [line for line in ledger if key(line) == key(row)][-1]
        assert line.outcome in {Outcome.NOT_FOUND, Outcome.UNAUTHORIZED, Outcome.NOT_SENT}, (
            "open without a closed group"
        )
    assert max(Counter(key(line) for line in ledger if is_final(line)).values(), default=1) == 1, "a state was changed"


@pytest.mark.full
@pytest.mark.parametrize("how", How)
def test_a_list_that_is_cut_off_at_every_moment_is_finished(how: How) -> None:
    """Ended twice in the same way, at any moment, a run that meets everything is finished by the third."""
    script = [Reply(n % 3 / 4, one) for n, one in enumerate([STOPPED, BUSY, throttled(3.0), LATE, RENEWED, GONE])]
    rows = accounts(["a", "b"], 6)
    ends = 0
    for after in range(40):
        cuts = [Cut(how, after, after % 3), Cut(how, after // 2)]
        sessions = cut_and_resumed(rows, script, Setting([Limit(4, 5)], 3, 3), cuts)
        ends += sum(session.was_cut for session in sessions)
    assert ends > 10
