"""A group begins slowly and is closed by refusals in a row; what was refused waits for its line until that is known."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkstop.engine.guards.scopes import FIRST, Refusal, ScopeBreaker, refusal_of
from bulkstop.model import DONE, Attempt, Campaign, CampaignType, Outcome

GONE = Attempt(Outcome.NOT_FOUND, http_status=404, error="HTTP 404")
BAD = Attempt(Outcome.REJECTED, http_status=400, error="HTTP 400")
NOT_ALLOWED = Attempt(Outcome.REJECTED, http_status=405, error="HTTP 405")
REFUSED = Attempt(Outcome.UNAUTHORIZED, http_status=401, error="HTTP 401")
FORBIDDEN = Attempt(Outcome.UNAUTHORIZED, http_status=403, error="HTTP 403")
MOVED = Attempt(Outcome.REJECTED, http_status=302, error="HTTP 302")
FOREIGN = Attempt(Outcome.UNCONFIRMED, http_status=200, error="a page, no answer", is_foreign=True)
LASTING = (REFUSED, FORBIDDEN, MOVED, FOREIGN)
SINGLE = (GONE, BAD, NOT_ALLOWED)
REFUSALS = (*LASTING, *SINGLE)
STOPPED = Attempt(Outcome.STOPPED, http_status=200)
BEFORE = Attempt(Outcome.ALREADY_STOPPED, http_status=409)
CONFLICT = Attempt(Outcome.REJECTED, http_status=409, error="HTTP 409")
UNSURE = Attempt(Outcome.UNCONFIRMED, http_status=200)
SUCCESSES = (STOPPED, BEFORE)
GONE_FOR_GOOD = Attempt(Outcome.REJECTED, http_status=410, error="HTTP 410")
WRONG = Attempt(Outcome.REJECTED, http_status=422, error="HTTP 422", message="campaign 'cd-7' has no 2nd dialler")
OTHER = (CONFLICT, UNSURE, GONE_FOR_GOOD, WRONG)
"""Failures that say that path, token and scope are right, until too many are alike."""
WORKS = (*SUCCESSES, *OTHER)
QUIET = tuple(
    Attempt(outcome, error="busy")
    for outcome in (
        Outcome.THROTTLED,
        Outcome.SERVER_ERROR,
        Outcome.TIMEOUT,
        Outcome.CONNECTION_ERROR,
        Outcome.UNKNOWN,
        Outcome.NOT_SENT,
    )
)


@dataclass(slots=True, eq=False)
class Row:
    """A campaign with its last answer."""

    campaign: Campaign
    last: Attempt | None = None
    order: int = 0


Ended = list[tuple[Row, bool]]


def campaign(
    number: int = 0, account_id: str = "a1", stream_id: str = "st-1", kind: CampaignType = CampaignType.VOICE
) -> Campaign:
    """Make a campaign of a group."""
    return Campaign.of_row(f"cd-{number}", kind, account_id, stream_id, "st-1", "list.csv", number)


def note(scope_breaker: ScopeBreaker[Row], attempt: Attempt, of: Campaign | None = None) -> Ended:
    """Let a campaign end so."""
    return scope_breaker.note(Row(of or campaign(), attempt), attempt)


def note_all(scope_breaker: ScopeBreaker[Row], *attempts: Attempt) -> Ended:
    """Let campaigns 0, 1, 2 … of one group end so, one after the other; return all lines that came out."""
    return [line for number, attempt in enumerate(attempts) for line in note(scope_breaker, attempt, campaign(number))]


def flags(ended: Ended) -> list[bool]:
    """Return for each line whether its row has ended."""
    return [has_ended for _, has_ended in ended]


def reason(scope_breaker: ScopeBreaker[Row], of: Campaign | None = None) -> str:
    """Return why a group was closed."""
    closed = scope_breaker.of(of or campaign()).closed
    assert closed is not None
    return closed


# --- how an answer refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        (GONE, Refusal.NOT_FOUND),
        (BAD, Refusal.BAD_REQUEST),
        (NOT_ALLOWED, Refusal.NOT_ALLOWED),
        (REFUSED, Refusal.UNAUTHORIZED),
        (FORBIDDEN, Refusal.UNAUTHORIZED),
        *((Attempt(Outcome.REJECTED, http_status=status), Refusal.REDIRECTED) for status in (300, 301, 302, 307, 399)),
        (FOREIGN, Refusal.FOREIGN),
        (BAD._replace(error="HTTP 400: a client certificate is wanted: give one"), Refusal.NO_CERTIFICATE),
        *((Attempt(Outcome.REJECTED, http_status=status), None) for status in (406, 409, 410, 422, None)),
        *((attempt, None) for attempt in (*WORKS, *QUIET)),
    ],
)
def test_what_refuses_a_call_as_its_whole_group_may_be(attempt: Attempt, refusal: Refusal | None) -> None:
    """400, 401, 403, 404, 405, a redirect and a foreign 2xx do; nothing else does."""
    assert refusal_of(attempt) is refusal


# --- a group without a success --------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", REFUSALS)
def test_five_refusals_in_a_row_close_a_group(attempt: Attempt) -> None:
    """The fifth closes it, the fourth does not; then all five lines are reported, and none is final."""
    groups = ScopeBreaker[Row]()
    assert note_all(groups, *[attempt] * (FIRST - 1)) == []
    assert (groups.of(campaign()).closed, groups.faults()) == (None, [])
    ended = note(groups, attempt, campaign(FIRST - 1))
    assert [(row.campaign.line, has_ended) for row, has_ended in ended] == [(line, False) for line in range(FIRST)]
    assert groups.faults()
    assert len(groups.faults()) == 1


def test_refusals_of_several_kinds_close_a_group_as_well() -> None:
    """They need not be alike; the reason counts each kind."""
    groups = ScopeBreaker[Row](can_list=True)
    assert flags(note_all(groups, GONE, BAD, REFUSED, GONE, MOVED)) == [False] * FIRST
    assert "(2 not found, 1 refused as a bad request, 1 refused, 1 redirected; " in reason(groups)


@pytest.mark.parametrize("works", SUCCESSES)
@pytest.mark.parametrize("before", range(FIRST))
def test_a_success_ends_what_was_refused_before_it(works: Attempt, before: int) -> None:
    """Then path, token and scope are right, so the refusals were about single campaigns: their rows have ended."""
    groups = ScopeBreaker[Row]()
    assert note_all(groups, *[GONE] * before) == []
    assert flags(note(groups, works, campaign(99))) == [True] * (before + 1)
    assert groups.of(campaign()).has_worked


@pytest.mark.parametrize("quiet", QUIET)
@pytest.mark.parametrize("refused", REFUSALS)
def test_a_busy_service_tells_nothing_of_a_group(quiet: Attempt, refused: Attempt) -> None:
    """A timeout between refusals neither clears a group nor counts against it; its own row ends at once."""
    groups = ScopeBreaker[Row]()
    assert flags(note_all(groups, *[quiet] * 100)) == [True] * 100
    assert flags(note_all(groups, refused, quiet, *[refused] * (FIRST - 2), quiet)) == [True, True]
    assert not groups.of(campaign()).has_worked
    assert flags(note(groups, refused)) == [False] * FIRST


@pytest.mark.parametrize("attempt", [*REFUSALS, *WORKS, *QUIET])
def test_what_was_under_way_when_a_group_was_closed_ends_by_its_own_answer(attempt: Attempt) -> None:
    """A refused one is taken up again as the others are, any other has ended; the reason stays the first one."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[REFUSED] * FIRST)
    before = reason(groups)
    assert flags(note(groups, attempt)) == [attempt not in REFUSALS]
    assert groups.claimed(Row(campaign())) == []
    assert reason(groups) == before
    assert not groups.of(campaign()).has_worked


# --- a group that has worked ----------------------------------------------------------------------------------------


def test_after_a_success_old_campaigns_close_nothing() -> None:
    """Any number of campaigns may then be not found; each ends at once."""
    groups = ScopeBreaker[Row](can_list=True)
    assert flags(note_all(groups, STOPPED, *[GONE] * 100)) == [True] * 101
    assert (groups.faults(), groups.to_review) == ([], [])


@pytest.mark.parametrize("attempt", LASTING)
def test_after_a_success_five_lasting_refusals_in_a_row_close_a_group(attempt: Attempt) -> None:
    """A token may be revoked, or a page to sign in appear, in the middle of a run."""
    groups = ScopeBreaker[Row](can_list=True)
    assert flags(note_all(groups, STOPPED, *[attempt] * FIRST)) == [True] + [False] * FIRST
    assert reason(groups).startswith("the last calls of account a1, stream st-1, voice failed (5 ")


@pytest.mark.parametrize("attempt", [*OTHER, BAD, NOT_ALLOWED])
def test_the_first_final_failures_that_are_alike_close_a_group(attempt: Attempt) -> None:
    """Before a success five in a row close it; neither they nor later ones are final."""
    groups = ScopeBreaker[Row](can_list=True)
    note_all(groups, *[attempt] * (FIRST - 1))
    assert not groups.faults()
    assert flags(note(groups, attempt)) == [False] * FIRST
    assert len(groups.faults()) == 1
    assert flags(note_all(groups, attempt, STOPPED)) == [False, True]


@pytest.mark.parametrize("attempt", [*OTHER, BAD, NOT_ALLOWED])
def test_after_a_success_campaigns_of_one_kind_close_nothing(attempt: Attempt) -> None:
    """Any number may then fail alike; the campaigns behind them still run, and are stopped."""
    groups = ScopeBreaker[Row](can_list=True)
    assert flags(note_all(groups, STOPPED, *[attempt] * 100, STOPPED)) == [True] * 102


def test_failures_are_alike_whatever_they_call_the_campaign() -> None:
    """Names and numbers in the words of the service do not make them differ."""
    groups = ScopeBreaker[Row]()
    for number in range(FIRST):
        words = WRONG._replace(message=f"cd-{number}: no campaign 'c{number}' at 12:0{number}")
        note(groups, words, campaign(number))
    assert (
        "(5 alike; the last one: HTTP 422, cd-4: no campaign 'c4' at 12:04): the service answers each of them so"
        in (reason(groups))
    )


def test_failures_that_differ_close_nothing() -> None:
    """Campaigns that are refused for reasons of their own are single ones, as in any mixed list."""
    groups = ScopeBreaker[Row]()
    mixed = (WRONG, CONFLICT, WRONG._replace(message="it is a draft"), GONE, GONE_FOR_GOOD, BAD, GONE)
    ended = note_all(groups, STOPPED, *mixed * 20, STOPPED)
    assert flags(ended) == [True] * (2 + 20 * len(mixed))
    assert not groups.faults()


@pytest.mark.parametrize("between", [*SUCCESSES, GONE])
def test_lasting_refusals_that_are_not_in_a_row_close_nothing(between: Attempt) -> None:
    """An answer between them shows that the group works; then what was held has ended."""
    groups = ScopeBreaker[Row]()
    note_all(groups, STOPPED)
    for _ in range(20):
        assert flags(note_all(groups, *[REFUSED] * (FIRST - 1), between)) == [True] * FIRST
    assert not groups.faults()


def test_a_token_that_was_revoked_is_named_as_such() -> None:
    """When calls worked before, the scope was right: the token is what to look at."""
    groups = ScopeBreaker[Row]()
    note_all(groups, STOPPED, *[REFUSED] * FIRST)
    assert "(5 refused; the last one: HTTP 401): calls before them worked, so the token may" in reason(groups)


# --- calls in flight ------------------------------------------------------------------------------------------------


def test_each_success_lets_one_more_be_in_flight() -> None:
    """A group begins with one, and only what was stopped, or was before, adds one."""
    groups = ScopeBreaker[Row]()
    group = groups.of(campaign())
    assert group.limit == 1
    for attempt in (STOPPED, BEFORE, CONFLICT, UNSURE, GONE, REFUSED, *QUIET):
        before = group.limit
        note(groups, attempt)
        assert group.limit - before == (attempt.outcome in DONE), attempt


def test_room_is_what_the_limit_leaves() -> None:
    """At its limit a group has none; a closed one has it always, as its campaigns do not leave."""
    groups = ScopeBreaker[Row]()
    group = groups.of(campaign())
    assert group.has_room
    group.in_flight = 1
    assert not group.has_room
    note_all(groups, *[REFUSED] * FIRST)
    assert (group.has_room, group.limit) == (True, math.inf)


# --- renewals -------------------------------------------------------------------------------------------------------


def test_a_group_without_a_success_is_renewed_once_and_that_counts() -> None:
    """The refused call before the new token is one of the five, and a second new token would not help."""
    groups = ScopeBreaker[Row]()
    assert [groups.may_renew(campaign(number)) for number in range(3)] == [True, False, False]
    assert note_all(groups, *[REFUSED] * (FIRST - 2)) == []
    assert flags(note(groups, REFUSED)) == [False] * (FIRST - 1)


def test_a_group_that_was_refused_is_not_renewed() -> None:
    """After another refusal the token is hardly what is wrong."""
    groups = ScopeBreaker[Row]()
    note(groups, GONE)
    assert not groups.may_renew(campaign())
    assert groups.may_renew(campaign(account_id="a2"))


def test_a_group_that_has_worked_may_be_renewed_again_and_again() -> None:
    """Tokens expire in a long run; a renewal is no refusal then."""
    groups = ScopeBreaker[Row]()
    note(groups, STOPPED)
    assert all(groups.may_renew(campaign()) for _ in range(100))
    assert note_all(groups, *[REFUSED] * (FIRST - 1)) == []


# --- claims ---------------------------------------------------------------------------------------------------------


def test_a_claim_shows_that_a_group_works() -> None:
    """The service knows the campaign, so what was refused before has ended, and one more may be in flight."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[GONE] * (FIRST - 1))
    assert flags(groups.claimed(Row(campaign()))) == [True] * (FIRST - 1)
    group = groups.of(campaign())
    assert (group.has_worked, group.limit) == (True, 2)


# --- lists ----------------------------------------------------------------------------------------------------------


def reviewing() -> ScopeBreaker[Row]:
    """Return groups, one of which waits for its list."""
    groups = ScopeBreaker[Row](can_list=True)
    assert note_all(groups, *[GONE] * FIRST) == []
    assert groups.to_review == [groups.of(campaign())]
    groups.to_review.clear()
    return groups


def test_a_group_whose_list_is_read_has_no_room() -> None:
    """Until the list decides nothing of it leaves, and nothing is decided without it."""
    groups = reviewing()
    group = groups.of(campaign())
    assert (group.has_room, group.is_reviewed, group.closed) == (False, True, None)
    assert groups.end_account("a1") == []


@pytest.mark.parametrize("listed", [[], ["cd-77"]])
def test_when_none_is_listed_they_are_not_found_and_the_group_goes_on(listed: list[str]) -> None:
    """Old rows at the top of a list do not close the group; later ones are checked against the same list."""
    groups = reviewing()
    group = groups.of(campaign())
    assert flags(groups.reviewed(group, listed)) == [True] * FIRST
    assert (group.limit, group.is_reviewed, group.closed) == (1, False, None)
    assert flags(note_all(groups, *[GONE] * 50)) == [True] * 50
    assert groups.to_review == []


def test_one_that_is_listed_closes_its_group() -> None:
    """The service has it and does not find it: so the path is wrong."""
    groups = reviewing()
    assert flags(groups.reviewed(groups.of(campaign()), {"cd-3"})) == [False] * FIRST
    assert "the service lists such a campaign, so the path template is wrong" in reason(groups)
    assert "voice_path" in reason(groups)


def test_a_later_one_that_is_listed_closes_its_group_at_once() -> None:
    """One campaign that the service lists and does not find is proof enough."""
    groups = reviewing()
    groups.reviewed(groups.of(campaign()), {"cd-77"})
    assert flags(note(groups, GONE, campaign(77))) == [False]
    assert "the service lists such a campaign" in reason(groups)


def test_without_a_list_the_group_is_closed_and_says_why() -> None:
    """Nobody can tell then, and five were refused."""
    groups = reviewing()
    assert flags(groups.reviewed(groups.of(campaign()), None, "HTTP\n403")) == [False] * FIRST
    assert reason(groups).endswith("the service's own list could not tell, as it cannot be read (HTTP\ufffd403)")
    assert reason(groups).isprintable()


@pytest.mark.parametrize("attempt", [one for one in REFUSALS if one is not GONE])
def test_after_the_list_other_refusals_in_a_row_still_close(attempt: Attempt) -> None:
    """The list tells only of what is not found."""
    groups = reviewing()
    groups.reviewed(groups.of(campaign()), [])
    assert flags(note_all(groups, *[attempt] * FIRST)) == [False] * FIRST


def test_a_list_is_read_only_when_all_five_were_not_found() -> None:
    """Other refusals do not mean that a campaign may be missing."""
    groups = ScopeBreaker[Row](can_list=True)
    note_all(groups, *[GONE] * (FIRST - 1), BAD)
    assert groups.to_review == []
    assert groups.faults()


# --- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, FIRST))
@pytest.mark.parametrize("attempt", REFUSALS)
def test_a_short_group_is_judged_at_the_end_of_its_account(attempt: Attempt, count: int) -> None:
    """When all of fewer than five were refused, that is all there is to know: it is closed, another account is not."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[attempt] * count)
    assert groups.end_account("a2") == []
    assert flags(groups.end_account("a1")) == [False] * count
    assert groups.faults()
    assert groups.end_account("a1") == []


def test_a_short_group_that_is_not_found_asks_its_list_as_well() -> None:
    """The end of an account is judged as five in a row are."""
    groups = ScopeBreaker[Row](can_list=True)
    note(groups, GONE)
    assert groups.end_account("a1") == []
    (group,) = groups.to_review
    assert flags(groups.reviewed(group, [])) == [True]


def test_what_a_working_group_holds_at_its_end_has_ended() -> None:
    """Fewer than five at the end of a group that has worked close nothing."""
    groups = ScopeBreaker[Row]()
    note_all(groups, STOPPED, *[REFUSED] * (FIRST - 1))
    assert flags(groups.end_account("a1")) == [True] * (FIRST - 1)
    assert not groups.faults()


def test_a_run_that_ends_early_gives_out_what_waits() -> None:
    """Rows refused by a group that never worked are not final; those of a group that worked are."""
    groups = ScopeBreaker[Row]()
    note_all(groups, GONE, GONE)
    for attempt in (STOPPED, REFUSED, REFUSED, REFUSED):
        note(groups, attempt, campaign(9, "a2"))
    assert [(row.campaign.account_id, ended) for row, ended in groups.flush()] == [
        *[("a1", False)] * 2,
        *[("a2", True)] * 3,
    ]
    assert groups.flush() == []
    assert not groups.faults()


# --- what is said ---------------------------------------------------------------------------------------------------


def test_a_closed_group_says_what_may_be_wrong_in_the_words_of_the_service() -> None:
    """The line names the group, the answers with the service's words, the usual causes and the way on."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[REFUSED._replace(message="Missing scope")] * FIRST)
    said = (
        "the first calls of account a1, stream st-1, voice failed (5 refused; the last one: HTTP 401, Missing scope): "
        'wrong token, wrong stream id, or missing scope "Campaign Management"'
    )
    way_on = "correct the cause, then go on with resume=True, which sends the refused ones again"
    assert reason(groups) == said
    assert groups.faults() == [f"{said}; {way_on}"]
    groups.of(campaign()).skipped = 1234
    assert groups.faults() == [f"{said}; 1,234 more of them were not sent: {way_on}"]


@pytest.mark.parametrize(("kind", "option"), [(CampaignType.VOICE, "voice_path"), (CampaignType.SMS, "sms_path")])
@pytest.mark.parametrize("attempt", SINGLE)
def test_a_path_that_may_be_wrong_is_named_by_the_option_of_its_type(
    attempt: Attempt, kind: CampaignType, option: str
) -> None:
    """The line names the option to change, and not the one of the other type."""
    of, groups = campaign(kind=kind), ScopeBreaker[Row]()
    for _ in range(FIRST):
        note(groups, attempt, of)
    assert f"the path template may be wrong for your deployment ({option})" in reason(groups, of)
    assert reason(groups, of).count("_path") == 1


@pytest.mark.parametrize("attempt", [MOVED, FOREIGN])
def test_a_host_that_may_be_wrong_is_named(attempt: Attempt) -> None:
    """A redirect or a page is not of this service."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[attempt] * FIRST)
    assert "host may be wrong" in reason(groups)


texts = st.text(max_size=40)


@given(texts, texts, texts, texts, st.sampled_from(REFUSALS))
def test_hostile_text_is_safe_in_the_reason(
    account: str, stream: str, error: str, message: str, attempt: Attempt
) -> None:
    """Neither an id nor the service's words can forge a line or move the cursor."""
    of, groups = campaign(account_id=account, stream_id=stream), ScopeBreaker[Row]()
    for _ in range(FIRST):
        note(groups, attempt._replace(error=error, message=message), of)
    assert reason(groups, of).isprintable()


# --- whatever the mix -----------------------------------------------------------------------------------------------

some = st.sampled_from([(account, stream, kind) for account in "ab" for stream in "st" for kind in CampaignType])
attempts = st.sampled_from([*REFUSALS * 3, GONE, GONE, GONE, GONE, *WORKS, *QUIET[:3]])
lists = st.none() | st.sets(st.integers(0, 60).map("cd-{}".format))


@settings(max_examples=150)
@given(st.lists(st.tuples(some, attempts), max_size=80), st.integers(1, 5), st.booleans(), lists, st.booleans())
def test_each_line_is_given_once_and_none_of_a_closed_group_is_final_if_refused(
    ends: list[tuple[tuple[str, str, CampaignType], Attempt]],
    first: int,
    can_list: bool,
    listed: set[str] | None,
    is_cut: bool,
) -> None:
    """For any mix of responses: no line is lost or doubled, and a refused row is final only in a working group."""
    groups, given_out = ScopeBreaker[Row](first, can_list=can_list), list[tuple[Row, bool]]()
    rows = [Row(campaign(number, *of), attempt) for number, (of, attempt) in enumerate(ends)]

    def review() -> None:
        while groups.to_review:
            given_out.extend(groups.reviewed(groups.to_review.pop(), listed, "no list"))

    for row in rows:
        assert row.last is not None
        given_out += groups.note(row, row.last)
        review()
    for account_id in "ab" if not is_cut else "":
        given_out += groups.end_account(account_id)
        review()
    if not is_cut:
        assert groups.flush() == []
    given_out += groups.flush()
    assert Counter(id(row) for row, _ in given_out) == Counter(map(id, rows))
    for row, has_ended in given_out:
        assert row.last is not None
        group = groups.of(row.campaign)
        assert has_ended or row.last.outcome not in DONE
        assert has_ended or group.closed is not None or not group.has_worked
        if has_ended and refusal_of(row.last) is not None:
            assert group.has_worked or (group.listed is not None and row.last is GONE)


@settings(max_examples=150)
@given(st.lists(st.tuples(some, attempts), max_size=100), st.integers(1, 5))
def test_every_group_is_closed_exactly_by_its_own_refusals_in_a_row(
    ends: list[tuple[tuple[str, str, CampaignType], Attempt]], first: int
) -> None:
    """For any mix of responses, the group's own refusals in a row close it; others must be alike."""
    groups = ScopeBreaker[Row](first)
    worked, closed = set[object](), set[object]()
    in_a_row, kinds = defaultdict[object, int](int), dict[object, object]()
    for of, attempt in ends:
        note(groups, attempt, campaign(0, *of))
        if attempt not in QUIET and of not in closed:
            kind = attempt if attempt in OTHER else "refused"
            is_unlike = in_a_row[of] > 0 and kinds[of] != kind and (kind != "refused" or kinds[of] in OTHER)
            if attempt in SUCCESSES or is_unlike:
                worked.add(of)
                in_a_row[of] = 0
            if attempt in SUCCESSES or (of in worked and attempt not in LASTING):
                in_a_row[of] = 0
            else:
                in_a_row[of] += 1
                kinds[of] = kind
        if in_a_row[of] >= first:
            closed.add(of)
        assert (groups.of(campaign(0, *of)).closed is not None) == (of in closed)
    assert len(groups.faults()) == len(closed)


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("Signature verification failed", "the secret that signs the token is not the one of this app"),
        ("invalid signature", "the secret that signs the token is not the one of this app"),
        ("The token is not yet valid (iat)", "or this machine's clock is wrong"),
        ("jwt expired", "or this machine's clock is wrong"),
        ("no experts here", "wrong token, wrong stream id, or missing scope"),
    ],
)
def test_the_words_of_the_service_name_the_cause(words: str, cause: str) -> None:
    """If the service mentions the token's signature or times, the reason names the secret or the clock."""
    groups = ScopeBreaker[Row]()
    note_all(groups, *[REFUSED._replace(message=words)] * FIRST)
    (said,) = groups.faults()
    assert words in said
    assert cause in said
