"""A part of a list that is wrong as a whole is told by its first campaigns, and by nothing else."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.groups import FIRST, Groups
from bulkstop.model import DONE, LEFT, WORTH_A_RETRY, Campaign, CampaignType, Outcome

GONE = Outcome.NOT_FOUND
REFUSED = Outcome.UNAUTHORIZED
JUDGED = (GONE, REFUSED)
WORKS = sorted({*DONE, Outcome.UNCONFIRMED, Outcome.REJECTED})
SAYS_NOTHING = sorted(WORTH_A_RETRY | LEFT)


def campaign(
    number: int = 0, account_id: str = "a1", stream_id: str = "st-1", kind: CampaignType = CampaignType.VOICE
) -> Campaign:
    """Make a campaign of a group."""
    return Campaign(f"cd-{number}", kind, account_id, stream_id, "st-1", "list.csv", number)


def ended(*outcomes: Outcome, of: Campaign | None = None, groups: Groups | None = None) -> Groups:
    """Let campaigns of one group end so."""
    groups = groups or Groups()
    for outcome in outcomes:
        groups.settled(of or campaign(), outcome, "HTTP 4xx")
    return groups


@pytest.mark.parametrize("outcome", JUDGED)
def test_the_first_five_that_fail_alike_close_their_group(outcome: Outcome) -> None:
    """The fifth closes it, the fourth does not."""
    groups = ended(*[outcome] * (FIRST - 1))
    assert (groups.closed(campaign(9)), groups.faults()) == (None, [])
    ended(outcome, groups=groups)
    assert groups.closed(campaign(9)) is not None
    assert len(groups.faults()) == 1


@pytest.mark.parametrize("works", WORKS)
@pytest.mark.parametrize("before", range(FIRST))
def test_one_that_works_opens_a_group_for_good(works: Outcome, before: int) -> None:
    """If one of the first is known to the service, later failures are about single campaigns."""
    groups = ended(*[GONE] * before, works, *[GONE] * 100, *[REFUSED] * 100)
    assert groups.closed(campaign()) is None


def test_failures_of_two_kinds_are_no_pattern() -> None:
    """Where some are refused and some are gone, nothing is said of the whole group."""
    assert ended(GONE, REFUSED, *[GONE] * 100).closed(campaign()) is None


@pytest.mark.parametrize("outcome", SAYS_NOTHING)
@pytest.mark.parametrize("judged", JUDGED)
def test_a_busy_service_tells_nothing_of_a_group(outcome: Outcome, judged: Outcome) -> None:
    """A timeout among the first neither clears a group nor counts against it."""
    assert ended(*[outcome] * 100).closed(campaign()) is None
    assert ended(outcome, *[judged] * (FIRST - 1)).closed(campaign()) is None
    assert ended(outcome, *[judged] * (FIRST - 1), outcome, judged).closed(campaign()) is not None


@pytest.mark.parametrize(
    "other",
    [campaign(account_id="a2"), campaign(stream_id="st-2"), campaign(kind=CampaignType.SMS)],
)
def test_another_account_stream_or_type_goes_on(other: Campaign) -> None:
    """Only the group that failed is closed."""
    groups = ended(*[REFUSED] * FIRST)
    assert groups.closed(other) is None
    ended(*[REFUSED] * FIRST, of=other, groups=groups)
    assert groups.closed(other) is not None
    assert len(groups.faults()) == 2


def test_what_was_under_way_changes_nothing_more() -> None:
    """A closed group stays closed, with its one reason, whatever its last answers are."""
    groups = ended(*[GONE] * FIRST)
    reason = groups.closed(campaign())
    groups.settled(campaign(), GONE, "said otherwise")
    ended(Outcome.STOPPED, GONE, REFUSED, groups=groups)
    assert groups.closed(campaign()) == reason
    assert len(groups.faults()) == 1


def test_a_refused_group_says_what_may_be_wrong() -> None:
    """The line names the group, what the service said and the two usual causes."""
    groups = Groups()
    for _ in range(FIRST):
        groups.settled(campaign(), REFUSED, "HTTP 401: wrong token, stream id or scope")
    reason = (
        "the first 5 of account a1, stream st-1, voice were refused (HTTP 401: wrong token, stream id or scope): "
        'wrong stream id or missing scope "Campaign Management"'
    )
    assert groups.closed(campaign(7)) == reason
    assert groups.faults() == [reason]


def test_a_closed_group_says_what_it_held_back() -> None:
    """The line of a closed group ends with how many were not sent, and what to do; that of another one does not."""
    groups = ended(*[REFUSED] * FIRST)
    ended(*[REFUSED] * FIRST, of=campaign(account_id="a2"), groups=groups)
    assert not groups.has_skipped
    for number in range(1234):
        groups.skipped(campaign(number))
    assert groups.has_skipped
    held_back, other = groups.faults()
    assert held_back == (
        f"{groups.closed(campaign())}; 1,234 more of them were not sent: put it right, then go on with --resume"
    )
    assert other == groups.closed(campaign(account_id="a2"))


@pytest.mark.parametrize(("kind", "option"), [(CampaignType.VOICE, "--voice-path"), (CampaignType.SMS, "--sms-path")])
def test_a_group_that_is_not_found_says_what_may_be_wrong(kind: CampaignType, option: str) -> None:
    """The line names the option of that type's path, and the other usual cause."""
    of = campaign(kind=kind)
    assert ended(*[GONE] * FIRST, of=of).closed(of) == (
        f"the first 5 of account a1, stream st-1, {kind} were not found (HTTP 4xx): the path template may be wrong for "
        f"your deployment ({option}), or the list is of another environment"
    )


def test_a_hostile_id_is_safe_in_the_reason() -> None:
    """An id or a service's text cannot forge a line."""
    of, groups = campaign(account_id="a\x1b[2J", stream_id="s\n\ud800"), Groups()
    for _ in range(FIRST):
        groups.settled(of, GONE, "HTTP\r\n404")
    reason = groups.closed(of)
    assert reason is not None
    assert reason.isprintable()
    assert "account a\ufffd[2J, stream s\ufffd\ufffd, voice were not found (HTTP\ufffd\ufffd404)" in reason


some = st.sampled_from(
    [campaign(0, account, stream, kind) for account in "ab" for stream in "st" for kind in CampaignType]
)
outcomes = st.sampled_from([*JUDGED * 6, Outcome.STOPPED, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.THROTTLED])


@settings(max_examples=150)
@given(st.lists(st.tuples(some, outcomes), max_size=100), st.integers(1, 5))
def test_every_group_is_judged_by_its_own_first_ends_alone(ends: list[tuple[Campaign, Outcome]], first: int) -> None:
    """However the ends of groups are mixed, each is closed by its own first ones that tell, once they do."""
    groups, seen = Groups(first), defaultdict[Campaign, list[Outcome]](list)
    for of, outcome in ends:
        groups.settled(of, outcome)
        if outcome not in SAYS_NOTHING:
            seen[of].append(outcome)
        for one, own in seen.items():
            is_closed = len(own) >= first and own[:first] in ([GONE] * first, [REFUSED] * first)
            assert (groups.closed(one) is not None) == is_closed
    assert len(groups.faults()) == sum(groups.closed(one) is not None for one in seen)
