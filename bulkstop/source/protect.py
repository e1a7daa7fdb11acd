"""Campaigns that are never to be stopped, whatever a list says: ids, patterns and names, read from files."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bulkstop.errors import InputError
from bulkstop.ids import POSSIBLE, plain_id
from bulkstop.model import Campaign
from bulkstop.source.inputs import STDIN, Format, open_input, resolve_input
from bulkstop.source.line_reader import LineReader, is_blank, read_lines, text_fault
from bulkstop.text import clip_controls, has_controls, replace_controls

NAME = "name:"
"""A rule that begins so is held against the campaign's name, any other one against its id."""

RULE_CHARS = 1024
"""The longest rule."""

_WILD = re.compile(r"[*?\[]")
_NOTHING = fnmatch.translate("[z-a]")
_COMMENT = re.compile(r"\s#")
# A list of another form, two ids on a line, or a kind of rule that does not exist: none of them would match anything.
_STRAY = re.compile(r"""[\s,;:"'](?!\])""")


class Rule(NamedTuple):
    """A line of a file of rules, and the pattern on it."""

    source: str
    line: int
    pattern: str
    of_name: bool = False

    def __str__(self) -> str:
        """Say where it stands and what it is."""
        return f"protected by {self.source} line {self.line} ({NAME * self.of_name}{clip_controls(self.pattern)})"


class Protection:
    """The rules of all files: says of a campaign by which of them it is protected.

    Ids and names are looked up, patterns by the part before their first wildcard, so 100,000 cost no more than one;
    the patterns that begin alike are one regular expression.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        rules = list(rules)
        self.rules = len(rules)
        self._ids = _Rules(rule for rule in rules if not rule.of_name)
        self._has_ids = bool(self._ids)
        self._names = _Rules(rule for rule in rules if rule.of_name)

    @property
    def has_names(self) -> bool:
        """Tell whether a rule is held against names, which a list need not have."""
        return bool(self._names)

    def of(self, campaign: Campaign) -> str | None:
        """Say by which rule a campaign is protected, in words for its result line; None when by none."""
        rule = self._ids.match(campaign.campaign_id)
        if rule is None and self._has_ids and not POSSIBLE.fullmatch(campaign.campaign_id):
            rule = self._ids.match(plain_id(campaign.campaign_id))  # a service may take it for that
        if rule is None and campaign.name is not None:
            rule = self._names.match(campaign.name)
        return None if rule is None else str(rule)


class _Rules:
    """Rules for one text: those without wildcards by what they say, patterns by how they begin."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._exact: dict[str, Rule] = {}
        wild: dict[str, list[Rule]] = {}
        for rule in rules:
            if first := _WILD.search(rule.pattern):
                wild.setdefault(rule.pattern[: first.start()], []).append(rule)
            else:
                self._exact.setdefault(rule.pattern, rule)
        self._wild = {head: _Patterns(patterns) for head, patterns in wild.items()}
        self._lengths = sorted({len(head) for head in wild})

    def __bool__(self) -> bool:
        return bool(self._exact or self._wild)

    def match(self, text: str) -> Rule | None:
        """Return a rule that matches: an exact one, else the pattern with the shortest beginning."""
        if rule := self._exact.get(text):
            return rule
        for length in self._lengths:
            patterns = self._wild.get(text[:length])
            if patterns is not None and (rule := patterns.match(text)):
                return rule
        return None


class _Patterns:
    """Patterns that begin alike, as one regular expression."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._regex = re.compile("|".join(f"({fnmatch.translate(rule.pattern)})" for rule in rules))

    def match(self, text: str) -> Rule | None:
        match = self._regex.match(text)
        return None if match is None else self._rules[(match.lastindex or 1) - 1]


def read_protection(paths: Sequence[str]) -> Protection:
    """Read files of rules, one rule a line; blank lines, and what follows a `#`, are no rules.

    A rule is a campaign id, or a shell pattern for whole ids, upper and lower case being different; behind `name:`, the
    same for the campaign's name. Raises InputError for a file that cannot be read or holds no rule, and for a line that
    cannot match anything: what it was to protect would be stopped.
    """
    return Protection(rule for path in paths for rule in _read(path))


def _read(path: str) -> list[Rule]:
    if path == STDIN:
        raise InputError(" -: standard input is for the list; name a file", setting="protect")
    try:
        entry = resolve_input(path, Format.TXT)
        with open_input(entry, None) as stream:
            rules = list(_rules(LineReader(stream, entry.label)))
    except InputError as error:
        raise InputError(f" {error}", setting="protect") from None
    if not rules:
        why = "holds no rule; leave the option out if nothing is to be protected"
        raise InputError(f" {entry.label}: {why}", setting="protect")
    return rules


def _rules(reader: LineReader) -> Iterator[Rule]:
    for line, content in read_lines(reader):
        if is_blank(content) or content.lstrip().startswith("#"):
            continue
        try:
            yield parse_rule(reader.label, line, content)
        except ValueError as fault:
            raise InputError(f"{reader.label}: line {line}: {fault}") from None


def parse_rule(source: str, line: int, content: str) -> Rule:
    """Read a rule; raises ValueError for a text that is none."""
    if fault := text_fault(content):
        raise ValueError(fault)
    pattern = content.strip()
    if of_name := pattern[: len(NAME)].lower() == NAME:
        pattern = pattern[len(NAME) :].strip()
        _check_name(pattern)
    else:
        pattern = _COMMENT.split(pattern, maxsplit=1)[0].rstrip()
        _check_id(pattern)
    _check_pattern(pattern)
    return Rule(source, line, pattern, of_name)


def _check_name(pattern: str) -> None:
    if not pattern:
        raise ValueError(f"no name behind {NAME}")
    if _COMMENT.search(pattern):
        raise ValueError("a # in a name: put a comment on a line of its own; for a name that holds it write [#]")
    if has_controls(pattern):
        raise ValueError(f"{replace_controls(pattern)!r} holds a control character")


def _check_id(pattern: str) -> None:
    hidden = next((char for char in pattern if not char.isprintable() and not char.isspace()), None)
    if hidden is not None:
        raise ValueError(f"{clip_controls(pattern)!r} holds a character that cannot be seen (U+{ord(hidden):04X})")
    if stray := _STRAY.search(pattern):
        raise ValueError(
            f"{clip_controls(pattern)!r} holds {stray[0]!r}: give one id or pattern a line, or {NAME}PATTERN; "
            "in an id that really holds it write it between [ and ]"
        )
    if pattern in (".", ".."):
        raise ValueError(f"{pattern!r} is a path step, not an id")


def _check_pattern(pattern: str) -> None:
    if len(pattern) > RULE_CHARS:
        raise ValueError(f"the rule has {len(pattern):,} characters; at most {RULE_CHARS:,} can be")
    if empty := next((part for part in _brackets(pattern) if fnmatch.translate(part) == _NOTHING), None):
        raise ValueError(f"{clip_controls(pattern)!r} can match nothing: {clip_controls(empty)!r} names no character")


def _brackets(pattern: str) -> list[str]:
    """List what stands in brackets, as fnmatch reads them; raises ValueError for one that is not closed."""
    classes, begin = [], pattern.find("[")
    while begin >= 0:
        first = begin + 1 + pattern.startswith("!", begin + 1)
        end = pattern.find("]", first + 1)  # one that comes first stands for itself
        if end < 0:
            raise ValueError(f"{clip_controls(pattern)!r} has a [ without its ]; for a [ itself write [[]")
        classes.append(pattern[begin : end + 1])
        begin = pattern.find("[", end)
    return classes
