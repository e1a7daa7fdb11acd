"""The claim of a response that a campaign is at rest, or not active, read from its words.

The service's wording is undocumented, so a text is compared word by word with tables. A word in none of them is about
something else, or puts the rest in doubt. The time is linear in the length of the text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import orjson

from bulkstop.kore.body import parse_json

READ_CHARS = 1200
"""The most text that is read; a claim that continues beyond it is in doubt."""
_READ_VALUES = 200


class Claim(NamedTuple):
    """The claim of a response in `words`: a proof, if it says of this campaign that it is at rest and nothing else."""

    words: str
    is_proof: bool = False
    is_doubted: bool = False

    @property
    def is_bare(self) -> bool:
        """Whether it is just a "stopped", which may echo the request."""
        return not self.is_proof and self.words in _REST


class _Subject(Enum):
    """The subject of the last noun of a text."""

    NOTHING = 0
    CAMPAIGN = 1
    DEED = 2  # the request to stop the campaign, or its failure
    VAGUE = 3  # any campaign, or a deed in an earlier clause
    OTHER = 4


_ELSEWHERE = (_Subject.DEED, _Subject.OTHER)


def _table(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Placeholders in a list of words; no text can contain them.
_THIS = "<this campaign>"
_ANOTHER = "<another campaign>"
_NAME = "<a name>"
_TIME = "<a time>"
_NUMBER = "<a number>"

_REST = _table("stopped completed complete ended finished terminated cancelled canceled")
_ACTIVE = _table("active running live started executing ongoing progress")
_STATES = _REST | _ACTIVE | {"inactive"}
_LIVE = _table(
    "scheduled rescheduled preparing paused resumed restarted ready pending queued initiated created still yet again"
)
_DEEDS = _table(
    "request operation action trigger stop stopping code err error errors exception failure warning info message reason"
    " conflict validation"
)
"""Nouns that are not a campaign, except in an error about one: "request failed: already stopped"."""
_BREAKS = _table("because since as so and therefore hence but although though however which that it")
_PRONE = _table("could can ca may might must should will would shall wo be being to")
"""Before a state they express a possibility, not a fact."""
_NOT = frozenset({"not", "no", "never"})
_FILLERS = _table("currently in an a any the longer been now already state status just")
_MARKERS = frozenset({"is", "has", "in", "state", "status"})
_OPEN = _table("if unless until whether when once provided assuming either neither ?")
"""A sentence with one of these does not state a fact."""
_OF = _table("of for in from by on with to")
_ARTICLES = _table("a an any the this that your its")
_KINDS = _table("voice sms outbound given requested specified selected")
_SURE = (
    _table(
        "a an the this your its current is are was were has have been at on in with id name named called state"
        " status campaign already now currently just any longer unable done please sorry note because since as so and"
        " therefore hence which that it for http errored failed fail failing success successful successfully bad"
        " invalid illegal rejected allowed possible permitted perform ok"
    )
    | _DEEDS
    | _PRONE
    | _REST
    | {"inactive", _THIS, _TIME, ""}
)
"""Words that do not weaken a text that says that a campaign is at rest."""
_SMALL = (
    _SURE
    | _BREAKS
    | _NOT
    | _OF
    | _STATES
    | _LIVE
    | {"had", "campaigns", "instance", "or", "found", "exists", "exist", "only", _ANOTHER}
)
"""Words that are not a noun for another thing; after any other word a state describes something else."""
_AFTER_NONE = frozenset({"exists", "exist", "for", "found", "instance", "is", "to", "was", "with", "", _THIS, _ANOTHER})
"""What may follow "no active campaign"; a "no active campaign licence" is another thing."""
_AFTER_REST = _table("state status already now at on or successfully") | {"", _THIS}
"""What may follow "already stopped"; "stopped responding" or "completed a step" is not at rest."""
_IDS_FOLLOW = frozenset({"campaign", "id"})
_NAMES_FOLLOW = _IDS_FOLLOW | {"name", "named", "called"}
_TIMES_FOLLOW = frozenset({"at", "on", "since", "code", "error", "status", "http", _TIME})
_JOINED = {word.replace("'", ""): word for word in ("isn't", "wasn't", "can't", "hasn't", "couldn't", "doesn't")}

_STATUSES = frozenset(map(int, HTTPStatus))
_TEXT_KEYS = _table(
    "status state campaignstatus campaignstate currentstatus currentstate message msg error errors code errorcode"
    " errcode errormessage errormsg errordescription detail details description reason title data response result"
    " results campaign body fault faultstring cause info text usermessage displaymessage developermessage"
)


@dataclass(slots=True)
class _Reading:
    """What has been read of a response so far."""

    campaign_id: str | None
    needs_already: bool
    claims: list[Claim] = field(default_factory=list)
    is_doubted: bool = False
    is_void: bool = False
    subject: _Subject = _Subject.NOTHING

    def claim(self) -> Claim | None:
        """Return the strongest of its claims."""
        if self.is_void or not self.claims:
            return None
        best = max(self.claims, key=lambda claim: claim.is_proof)
        return Claim(best.words, best.is_proof and not self.is_doubted, self.is_doubted)


def read_claim(status: int, body: bytes, campaign_id: str | None) -> Claim | None:
    """Return what a response claims about the campaign with this id; None if it claims nothing of it.

    Without an id, a response that names one proves nothing. In a 2xx only "already" tells the campaign's state from the
    success of the call.
    """
    if campaign_id is None or len(body) > READ_CHARS or b"\\" in body or campaign_id.encode() in body:
        return _read(status, body, campaign_id)
    return _read_again(status, body)


@lru_cache(maxsize=64)
def _read_again(status: int, body: bytes) -> Claim | None:
    """Return the claim of a response that names no campaign; identical ones are read only once."""
    return _read(status, body, _THIS)


def _read(status: int, body: bytes, campaign_id: str | None) -> Claim | None:
    reading = _Reading(campaign_id, needs_already=200 <= status < 300)
    phrase = _letters(HTTPStatus(status).phrase) if status in _STATUSES else ""
    for text in _statements(body, reading):
        if phrase and _letters(text) == phrase:
            continue  # "error": "Not Found" repeats the status line
        reading.subject = _Subject.NOTHING
        _read_text(text, reading)
    return reading.claim()


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text)).lower()


def _statements(body: bytes, reading: _Reading) -> Iterator[str]:
    """Yield the texts of a response, READ_CHARS in all; omitted text puts the rest in doubt."""
    try:
        answer = parse_json(body)
    except orjson.JSONDecodeError:
        reading.is_doubted = len(body) > 4 * READ_CHARS
        answer = body[: 4 * READ_CHARS].decode(errors="replace").strip()
    left = READ_CHARS
    for text in _texts(answer, reading):
        reading.is_doubted = reading.is_doubted or len(text) > left
        if not left:
            return
        yield text[:left]
        left = max(0, left - len(text))


def _texts(answer: object, reading: _Reading) -> Iterator[str]:
    """Yield the texts of a JSON value that address a person or name a state or a code."""
    rest, read = [answer], 0
    while rest:
        read += 1
        if read > _READ_VALUES:
            reading.is_doubted = True
            return
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            rest.extend(value[_READ_VALUES::-1])
            reading.is_doubted = reading.is_doubted or len(value) > _READ_VALUES
        elif isinstance(value, dict):
            rest.extend(_values_read(value, reading))


def _values_read(fields: Mapping[str, object], reading: _Reading) -> list[object]:
    values = []
    for key, value in fields.items():
        name = _letters(key)
        if name == "campaignid" or (name == "id" and str(value).lower().startswith("cd-")):
            _note_id(str(value), reading)
        elif name in _TEXT_KEYS:
            values.append(value)
    return values[::-1]


def _note_id(named: str, reading: _Reading) -> None:
    if named == reading.campaign_id:
        return
    reading.is_doubted = True
    reading.is_void = reading.is_void or reading.campaign_id is not None


def _read_text(text: str, reading: _Reading) -> None:
    clauses: list[list[str]] = [[]]
    for word in [*_words(text, reading.campaign_id), "."]:
        if word in (".", "?"):
            clauses[-1].extend(["?"] * (word == "?"))
            _read_sentence(clauses, reading)
            clauses = [[]]
        elif word == ",":
            clauses.append([])
        elif word in _BREAKS:
            clauses.append([word])
        else:
            clauses[-1].append(word)


def _read_sentence(clauses: list[list[str]], reading: _Reading) -> None:
    is_open = any(word in _OPEN for clause in clauses for word in clause)
    for clause in clauses:
        reading.is_void = reading.is_void or _says_absent(clause)
        _read_clause([*clause, "", ""], reading, is_open=is_open)
        if reading.subject is _Subject.DEED:
            reading.subject = _Subject.VAGUE


def _says_absent(clause: list[str]) -> bool:
    """Return whether a clause says that there is no such campaign."""
    for at, word in enumerate(clause):
        if word in ("found", "exist", "exists") and "not" in clause[:at]:
            return True
        if word == "such" and "no" in clause[:at]:
            return True
        if word in ("invalid", "unknown") and "id" in clause[at + 1 : at + 3]:
            return True
    return False


def _read_clause(clause: list[str], reading: _Reading, *, is_open: bool) -> None:
    reading.is_doubted = reading.is_doubted or is_open
    begin = 0  # after the last campaign that is named
    claimed: set[int] = set()
    for at, word in enumerate(clause):
        if word == _ANOTHER:
            _note_id("", reading)
        if word == _THIS or (word == "campaign" and _is_subject(clause, at, reading)):
            is_any = clause[at - 1 : at] in (["a"], ["any"])
            reading.subject, begin = _Subject.VAGUE if is_any else _Subject.CAMPAIGN, at + 1
        elif word in _DEEDS and (not at or clause[at - 1] not in {"not", *_PRONE}):
            reading.subject = _Subject.DEED
        elif word not in _SMALL and not _is_kind(clause, at):
            reading.subject = _Subject.OTHER
        elif word in _STATES and not is_open:
            claimed |= _read_state(clause, begin, at, reading)
    for at, word in enumerate(clause):
        if at not in claimed and not _is_sure(clause, at, word):
            reading.is_doubted = True


def _is_subject(clause: list[str], at: int, reading: _Reading) -> bool:
    """Return whether the campaign named here is the subject; in "parent campaign" or "token of" it is not."""
    first = at
    while first and (clause[first - 1] in _ARTICLES or _is_kind(clause, first - 1)):
        first -= 1
    before = clause[first - 1] if first else ""
    if before in _OF and reading.subject is not _Subject.NOTHING:
        return False
    return before in _SMALL


def _is_kind(clause: list[str], at: int) -> bool:
    return clause[at] in _KINDS and clause[at + 1] == "campaign"


def _is_sure(clause: list[str], at: int, word: str) -> bool:
    if word == "not":
        return clause[at - 1] in ("can", "could", "ca") or clause[at + 1] in ("allowed", "possible", "permitted")
    if word == "or":
        return at > 0 and clause[at - 1] in _REST and clause[at + 1] in _REST
    return word in _SURE or _is_kind(clause, at)


def _read_state(clause: list[str], begin: int, at: int, reading: _Reading) -> set[int]:
    """Note what a clause claims with a word for a state; return the positions of the words that say so."""
    word = clause[at]
    scope = clause[begin:at]
    after = clause[at + 1]
    lead = next((place for place in range(at - 1, -1, -1) if clause[place] not in _FILLERS), -1)
    if word in _ACTIVE:
        return _read_not_active(clause, begin, at, lead, reading)
    if after == "campaign" and not {"stop", "stopping"}.isdisjoint(clause[:at]):
        reading.claims.append(Claim(f"{word} campaign"))  # "cannot stop a completed campaign"
        return {at}
    is_said = _NOT.isdisjoint(scope) and _PRONE.isdisjoint(scope)
    if is_said and reading.subject not in _ELSEWHERE:
        if word == "inactive":
            reading.claims.append(Claim(word))
        else:
            _note_rest(word, {*scope, *({after} & {"already"})}, after, reading)
    return {at}


def _note_rest(word: str, around: set[str], after: str, reading: _Reading) -> None:
    is_already = "already" in around
    is_proof = is_already
    if reading.subject is not _Subject.CAMPAIGN:
        is_proof = is_already and reading.subject is _Subject.NOTHING
    elif not reading.needs_already:
        is_proof = is_already or (not around.isdisjoint(_MARKERS) and "was" not in around)
    words = f"already {word}" if is_already else word
    reading.claims.append(Claim(words, is_proof and after in _AFTER_REST))


def _read_not_active(clause: list[str], begin: int, at: int, lead: int, reading: _Reading) -> set[int]:
    word, none = clause[at], set[int]()
    if clause[0] == "no" and clause[1] in ("campaign", "campaigns") and reading.subject not in _ELSEWHERE:
        reading.claims.append(Claim(f"no {word} campaign"))  # "no campaign is running"
        return {0, 1, at}
    if lead < 0 or clause[lead] not in ("not", "no"):
        return none
    if clause[lead] == "no" and "longer" not in clause[lead:at]:
        if clause[at + 1] not in ("campaign", "campaigns") or clause[at + 2] not in _AFTER_NONE:
            return none
        reading.claims.append(Claim(f"no {word} campaign"))
        return {lead, at}
    if reading.subject in _ELSEWHERE or not _PRONE.isdisjoint(clause[begin:lead]):
        return none
    reading.claims.append(Claim(f"no longer {word}" if clause[lead] == "no" else f"not {word}"))
    return {lead, at}


_TAG = re.compile(r"<[^<>]{0,400}>")
_QUOTED = re.compile(r"""(?<!\w)(?:'([^']{1,80})'|"([^"]{1,80})")(?!\w)""")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # of CampaignNotActive
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_MARKS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb`", '"'),
        **dict.fromkeys(",()[]{}\u2013\u2014|", " , "),
        **dict.fromkeys(";!\n\r\u2026", " . "),
        "?": " ? ",
    }
)


def _words(text: str, campaign_id: str | None) -> Iterator[str]:
    """Yield the words of a text in lower case, with placeholders for ids, names, times and ends of clauses."""
    text = text.strip()
    if text.startswith("<"):  # an HTML page; elsewhere text between < and > may matter
        text = _TAG.sub(" . ", text)
    text = text.translate(_MARKS).strip()
    if text[:1] == text[-1:] == '"' and text.count('"') == 2:
        text = text[1:-1]
    before = ""
    for chunk in _QUOTED.sub(_unquote, text).split():
        for word in _chunk_words(chunk, before, campaign_id):
            yield word
            before = before if word == "," else word


def _unquote(match: re.Match[str]) -> str:
    """Keep quoted text if it is a state or may be an id; otherwise it is a name, which can say anything."""
    content: str = (match[1] or match[2]).strip()
    is_word = content.replace("_", " ").lower() in _STATES or not content.isalpha()
    return content if is_word and not any(map(str.isspace, content)) else f" {_NAME_SENT} "


_NAME_SENT = "\x00"


def _chunk_words(chunk: str, before: str, campaign_id: str | None) -> Iterator[str]:
    """Yield the words between two blanks; `before` is the word before them."""
    if chunk in (",", "?", "-"):
        yield "?" if chunk == "?" else ","
        return
    rest = chunk.rstrip(".:")
    head, mark, tail = _halves(rest)
    while mark:
        for before in _letters_words(head):
            yield before
        yield ","
        head, mark, tail = _halves(tail)
    yield from _core_words(head, before, campaign_id)
    if len(rest) < len(chunk):
        yield "." if chunk.endswith(".") else ","


def _core_words(word: str, before: str, campaign_id: str | None) -> Iterator[str]:
    if word == _NAME_SENT:
        yield "" if before in _NAMES_FOLLOW else _NAME
    elif word and word == campaign_id and (before in _IDS_FOLLOW or not word.isalpha()):
        yield _THIS
    elif word.lower().startswith("cd-") or any(map(str.isdecimal, word)):
        yield _number(word, before)
    else:
        yield from _letters_words(word)


def _halves(word: str) -> tuple[str, str, str]:
    """Split `id:cd-1` and `status=Stopped`, but not a time."""
    for mark in "=:":
        head, mark_seen, tail = word.partition(mark)
        if mark_seen and head and tail and not any(map(str.isdecimal, head)):
            return head, mark, tail
    return word, "", ""


def _number(word: str, before: str) -> str:
    small = word.lower()
    if small.startswith("cd-") or before in _IDS_FOLLOW:
        return _ANOTHER
    return _TIME if before in _TIMES_FOLLOW and not set(small) - set("0123456789:.-+/tz") else _NUMBER


def _letters_words(text: str) -> Iterator[str]:
    for word in _WORD.findall(_HUMP.sub(" ", text).lower().replace("_", " ")):
        word = _JOINED.get(word, word)
        if word == "cannot":
            yield from ("can", "not")
        elif word.endswith("n't"):
            yield from (word[:-3], "not")
        elif word.endswith("'s"):
            yield from (word[:-2], "is")
        else:
            yield word
