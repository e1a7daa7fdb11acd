"""Groups are refused as a whole: an account's stream and type starts slowly, and closes if all its calls are refused.

A wrong path, scope, stream or token fails every campaign alike. So a group starts with one call at a time, and each
success allows one more in flight, which doubles them per round trip (slow start, RFC 5681 3.1). Its refused rows wait
for their lines until it is known whether they ended or the whole group could not work.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from http import HTTPStatus
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

from bulkstop.model import CERTIFICATE_WANTED, DONE, LEFT, Attempt, Campaign, CampaignType, Outcome
from bulkstop.naming import name_setting
from bulkstop.text import format_count, shorten

FIRST = 5
"""The number of refusals in a row that closes a group."""

_SAYS_NOTHING = LEFT | {Outcome.THROTTLED, Outcome.SERVER_ERROR, Outcome.TIMEOUT, Outcome.CONNECTION_ERROR}
"""The outcomes of a busy or broken service, which prove nothing about a group."""


class Refusal(StrEnum):
    """The kinds of refusal that may apply to a whole group."""

    NOT_FOUND = "not found"
    BAD_REQUEST = "refused as a bad request"
    NOT_ALLOWED = "refused as not allowed"
    UNAUTHORIZED = "refused"
    REDIRECTED = "redirected"
    NO_CERTIFICATE = "refused without a client certificate"
    FOREIGN = "answered with something that is no answer of this API"


LASTING = frozenset({Refusal.UNAUTHORIZED, Refusal.REDIRECTED, Refusal.NO_CERTIFICATE, Refusal.FOREIGN})
"""Refusals that close a group even after a success; any other then concerns one campaign, as in an old list."""
_OWN_WORDS = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")
"""The parts of error texts that differ between campaigns that failed alike."""
_BY_STATUS = {400: Refusal.BAD_REQUEST, 404: Refusal.NOT_FOUND, 405: Refusal.NOT_ALLOWED}


class Line(Protocol):
    """A row whose line may have to wait: a campaign with the last response to it."""

    @property
    def campaign(self) -> Campaign:
        """The campaign of the row."""
        ...

    @property
    def last(self) -> Attempt | None:
        """The last attempt."""
        ...

    @property
    def order(self) -> int:
        """The number of its call within the group, counted from 0 in the order of sending."""
        ...


L = TypeVar("L", bound=Line)
GroupKey = tuple[str, str, CampaignType, str | None]
"""An account, a stream, a type, and the profile whose credentials are used."""


class Group(Generic[L]):
    """The state of one group; `limit` is the most calls that may be in flight, `in_flight` the present number."""

    __slots__ = (
        "closed",
        "closed_by",
        "drawn",
        "has_worked",
        "held",
        "in_flight",
        "is_reviewed",
        "key",
        "likeness",
        "limit",
        "listed",
        "refusals",
        "refused_before",
        "skipped",
    )

    def __init__(self, key: GroupKey | None = None, limit: float = 1) -> None:
        self.key = key
        self.limit = limit
        self.in_flight = 0
        self.has_worked = False
        self.is_reviewed = False
        self.drawn = 0
        self.refusals = 0
        self.refused_before = 0  # the first call sent after the last refusal arrived
        self.held: list[L] = []
        self.likeness = ""  # the likeness of the held failures, if only like failures count
        self.listed: Collection[str] | None = None
        self.closed: str | None = None
        self.closed_by = ""
        self.skipped = 0

    @property
    def has_room(self) -> bool:
        """Whether another call may be sent; from a closed group everything may be drawn, because it is not sent."""
        return self.in_flight < self.limit

    def release(self, *, ended: bool) -> list[tuple[L, bool]]:
        """Return the lines that wait, each with whether its row has ended."""
        lines, self.held = self.held, []
        self.refusals, self.likeness = 0, ""
        return [(line, ended) for line in lines]


class ScopeBreaker(Generic[L]):
    """Decides how many calls of a group may be in flight, when a group closes, and which refused rows have ended.

    `first` refusals in a row (400, 401, 403, 404, 405, a redirect, a foreign 2xx) close a group without a success, and
    so do the first final failures of any other kind that are alike. If all of them are 404 and `can_list` is set, the
    list decides: they may be stale rows at the top of an old list. After a success only refusals in LASTING close a
    group: others may be adjacent campaigns of one kind, while those after them still run.
    """

    def __init__(
        self,
        first: int = FIRST,
        *,
        can_list: bool = False,
        account_of: Callable[[Campaign], str] = attrgetter("account_id"),
    ) -> None:
        self.to_review: list[Group[L]] = []
        """The groups whose lists must be read; the reader removes them and calls `reviewed`."""
        self._first = first
        self._can_list = can_list
        self._account_of = account_of
        self._groups: dict[GroupKey, Group[L]] = {}
        self._by_account: dict[str, list[Group[L]]] = {}

    def of(self, campaign: Campaign) -> Group[L]:
        """Return the group of a campaign."""
        key = (campaign.account_id, campaign.stream_id, campaign.campaign_type, campaign.profile)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
            self._by_account.setdefault(self._account_of(campaign), []).append(group)
        return group

    def limit_of(self, account_id: str) -> float:
        """Return how many calls of an account its groups allow in flight."""
        return sum(group.limit for group in self._by_account.get(account_id, ())) or math.inf

    def may_renew(self, campaign: Campaign) -> bool:
        """Return whether a refused call may be repeated with a new token; if so, count the refusal.

        A group without a success gets one renewal: the service would refuse a second new token as well.
        """
        group = self.of(campaign)
        if group.has_worked:
            return True
        if group.refusals:
            return False
        group.refusals += 1
        return True

    def note(self, line: L, attempt: Attempt) -> list[tuple[L, bool]]:
        """Note how a campaign that was sent has ended.

        Returns the lines that can be written now, each with whether its row has ended.
        """
        group, refusal = self.of(line.campaign), refusal_of(attempt)
        if group.closed is not None:
            is_alike = group.closed_by == _find_likeness(line.campaign, attempt)
            return [(line, refusal is None and not is_alike)]
        if attempt.outcome in _SAYS_NOTHING:
            return [(line, True)]
        if attempt.outcome in DONE or (group.has_worked and refusal not in LASTING):
            return [*self._worked(group, line, attempt, is_new=refusal is None), (line, True)]
        if refusal is None:
            return self._note_alike(group, line, attempt)
        if group.likeness:  # the earlier failures had causes of their own, so path, token and scope are right
            group.has_worked = True
            return [*group.release(ended=True), *self.note(line, attempt)]
        if group.listed is not None and refusal is Refusal.NOT_FOUND and not group.has_worked:
            if line.campaign.campaign_id not in group.listed:
                return [(line, True)]
            group.held.append(line)
            return self._close(group, _IS_LISTED.format(option=_path_option(group)))
        return self._hold(group, line, "")  # refusals of this kind need not be alike

    def _note_alike(self, group: Group[L], line: L, attempt: Attempt) -> list[tuple[L, bool]]:
        """Note a failure of one campaign; if it differs from those before, path, token and scope must be right."""
        likeness = _find_likeness(line.campaign, attempt)
        if group.held and likeness != group.likeness:
            return [*self._worked(group, line, attempt, is_new=True), (line, True)]
        return self._hold(group, line, likeness)

    def _hold(self, group: Group[L], line: L, likeness: str) -> list[tuple[L, bool]]:
        group.held.append(line)
        group.likeness = likeness
        group.refusals += 1
        group.refused_before = group.drawn
        return self._judge(group) if group.refusals >= self._first else []

    def claimed(self, line: L) -> list[tuple[L, bool]]:
        """Note the service's claim that a campaign does not run: path, token and scope are right."""
        group = self.of(line.campaign)
        return [] if group.closed is not None else self._worked(group, line, None, is_new=True)

    def end_account(self, account_id: str) -> list[tuple[L, bool]]:
        """Judge the groups of an account that has sent everything, and return the lines that can be written."""
        return [ended for group in self._waiting(account_id) for ended in self._judge_rest(group)]

    def reviewed(self, group: Group[L], listed: Collection[str] | None, why: str = "") -> list[tuple[L, bool]]:
        """Take the ids in the list of a group; None, with the reason `why`, if it could not be read."""
        group.is_reviewed = False
        group.limit = 1
        if listed is None:
            return self._close(group, _NO_LIST.format(option=_path_option(group), why=shorten(why)))
        if any(line.campaign.campaign_id in listed for line in group.held):
            return self._close(group, _IS_LISTED.format(option=_path_option(group)))
        group.listed = listed
        return group.release(ended=True)

    def flush(self) -> list[tuple[L, bool]]:
        """Return the lines that wait when a run ends early; rows of a group without a success have not ended."""
        return [ended for group in self._groups.values() for ended in group.release(ended=group.has_worked)]

    def faults(self) -> list[str]:
        """Return one line for each closed group: what is wrong, how many rows were not sent, and what to do."""
        return [
            f"{group.closed}; "
            + (
                f"{format_count(group.skipped, 'more of them was', 'more of them were')} not sent: "
                if group.skipped
                else ""
            )
            + f"correct the cause, then go on with {name_setting('resume', True)}, which sends the refused ones again"
            for group in self._groups.values()
            if group.closed is not None
        ]

    def _worked(self, group: Group[L], line: L, attempt: Attempt | None, *, is_new: bool) -> list[tuple[L, bool]]:
        """Note a response that shows that the group works; one to an older call does not outweigh a later refusal."""
        if is_new:
            group.has_worked = True
            if attempt is None or attempt.outcome in DONE:
                group.limit += 1
        return group.release(ended=True) if line.order >= group.refused_before else []

    def _waiting(self, account_id: str) -> Iterator[Group[L]]:
        for group in self._by_account.get(account_id, ()):
            if group.held and not group.is_reviewed:
                yield group

    def _judge_rest(self, group: Group[L]) -> list[tuple[L, bool]]:
        return group.release(ended=True) if group.has_worked else self._judge(group)

    def _judge(self, group: Group[L]) -> list[tuple[L, bool]]:
        refusals = {refusal_of(line.last) for line in group.held if line.last is not None}
        if refusals == {Refusal.NOT_FOUND} and self._can_list and not group.has_worked and group.listed is None:
            group.is_reviewed = True
            group.limit = 0
            self.to_review.append(group)
            return []
        return self._close(group)

    def _close(self, group: Group[L], note: str = "") -> list[tuple[L, bool]]:
        group.closed, group.closed_by = _reason(group, note), group.likeness
        group.limit = math.inf
        return group.release(ended=False)


OPEN: Group[Any] = Group(limit=math.inf)
"""The group of all campaigns if groups are not guarded."""


class Unwatched(ScopeBreaker[L]):
    """Puts all campaigns into one group that never closes."""

    def of(self, campaign: Campaign) -> Group[L]:
        """Return the open group."""
        return OPEN

    def may_renew(self, campaign: Campaign) -> bool:
        """Return True."""
        return True

    def note(self, line: L, attempt: Attempt) -> list[tuple[L, bool]]:
        """Return the line as final."""
        return [(line, True)]

    def claimed(self, line: L) -> list[tuple[L, bool]]:
        """Return no lines, because none waits."""
        return []


def refusal_of(attempt: Attempt) -> Refusal | None:
    """Return how a response refuses a call in a way that may apply to its whole group; None if it does not."""
    if attempt.is_foreign:
        return Refusal.FOREIGN
    if CERTIFICATE_WANTED in (attempt.error or ""):
        return Refusal.NO_CERTIFICATE
    if attempt.outcome is Outcome.UNAUTHORIZED:
        return Refusal.UNAUTHORIZED
    if attempt.outcome is Outcome.NOT_FOUND:
        return Refusal.NOT_FOUND
    if attempt.outcome is not Outcome.REJECTED or attempt.http_status is None:
        return None
    if HTTPStatus.MULTIPLE_CHOICES <= attempt.http_status < HTTPStatus.BAD_REQUEST:
        return Refusal.REDIRECTED
    return _BY_STATUS.get(attempt.http_status)


def _find_likeness(campaign: Campaign, attempt: Attempt) -> str:
    """Return the status and the words of a failure without names and numbers, to compare it with others."""
    words = f"{attempt.error or ''} {attempt.message or ''}".replace(campaign.campaign_id, "")
    return f"{attempt.outcome} {attempt.http_status} {_OWN_WORDS.sub('', words)}"


def _reason(group: Group[L], note: str) -> str:
    """Return what is wrong with a group: how its calls were refused, the service's own words, and what to check."""
    attempts = [line.last for line in group.held if line.last is not None]
    counts = Counter(refusal for attempt in attempts if (refusal := refusal_of(attempt)) is not None)
    how = ", ".join(f"{count} {refusal}" for refusal, count in counts.most_common())
    if group.likeness:
        how = f"{len(attempts)} alike"
    which = "the last calls" if group.has_worked else "the first calls"
    return f"{which} of {_named(group)} failed ({how}{_words_of(attempts[-1])}): {note or _remedy(group, counts)}"


def _named(group: Group[L]) -> str:
    account_id, stream_id, kind, profile = group.key or ("", "", CampaignType.VOICE, None)
    whose = f" (profile {shorten(profile)})" if profile else ""
    return f"account {shorten(account_id)}{whose}, stream {shorten(stream_id)}, {kind}"


def _words_of(attempt: Attempt) -> str:
    words = [shorten(text) for text in (attempt.error, attempt.message) if text]
    return f"; the last one: {', '.join(dict.fromkeys(words))}" if words else ""


def _remedy(group: Group[L], counts: Counter[Refusal]) -> str:
    if group.likeness:
        return "the service answers each of them so: put right what it says, or take such campaigns off the list"
    refusal = counts.most_common(1)[0][0]
    if group.has_worked and refusal is Refusal.UNAUTHORIZED:
        return "calls before them worked, so the token may have been revoked or be out of date"
    if refusal is Refusal.UNAUTHORIZED and (remedy := _read_words(group)):
        return remedy
    names = {name: name_setting(name) for name in ("host", "cert", "key")}
    return _REMEDIES[refusal].format(option=_path_option(group), **names)


def _read_words(group: Group[L]) -> str | None:
    """Return the cause that the service's words name: the token's signature or its times; None if neither."""
    words = (group.held[-1].last.message or "").lower() if group.held and group.held[-1].last else ""
    if "signature" in words:
        return (
            f"the secret that signs the token is not the one of this app ({name_setting('client_secret_file')}, "
            f"{name_setting('jwt_alg')}), or the token is of another environment"
        )
    if _OF_TIME.search(words):
        return "the token is out of date, or this machine's clock is wrong: get a new one, or set the clock"
    return None


def _path_option(group: Group[L]) -> str:
    is_voice = group.key is None or group.key[2] is CampaignType.VOICE
    return name_setting("voice_path" if is_voice else "sms_path")


_OF_TIME = re.compile(r"\b(?:expired?|not yet valid|iat|nbf|exp|maxage)\b")
_REMEDIES = {
    Refusal.NOT_FOUND: "the path template may be wrong for your deployment ({option}), "
    "or the list is of another environment",
    Refusal.BAD_REQUEST: "the path template may be wrong for your deployment ({option}), or the stream id or type",
    Refusal.NOT_ALLOWED: "the path template may be wrong for your deployment ({option})",
    Refusal.UNAUTHORIZED: 'wrong token, wrong stream id, or missing scope "Campaign Management"',
    Refusal.NO_CERTIFICATE: "the service asks each caller for a certificate ({cert}, {key})",
    Refusal.REDIRECTED: "{host} may be wrong, or a page to sign in stands before the service",
    Refusal.FOREIGN: "{host} may be wrong, or a proxy or a page to sign in stands before the service",
}
_IS_LISTED = "the service lists such a campaign, so the path template is wrong for your deployment ({option})"
_NO_LIST = (
    "the path template may be wrong for your deployment ({option}), or the list is of another environment; "
    "the service's own list could not tell, as it cannot be read ({why})"
)
