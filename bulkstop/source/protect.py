"""Campaigns that are never to be stopped, whatever a list says: ids, patterns and names, read from files."""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bulkstop.errors import InputError
from bulkstop.ids import POSSIBLE, plain_id
from bulkstop.model import Campaign
from bulkstop.source.encoding import open_utf8
from bulkstop.source.forms.format import Format
from bulkstop.source.inputs import STDIN, resolve_input
from bulkstop.source.line_reader import LineReader, read_lines, text_fault
from bulkstop.text import format_count, has_controls, shorten
from bulkstop.text.likeness import fold, fold_pattern

if TYPE_CHECKING:
    from bulkstop.source.unpack import Member

NAME = "name:"
"""A rule that begins so is held against the campaign's name, any other one against its id."""

RULE_CHARS = 1024
"""The longest rule."""
MOST_LOOKS = 100_000
"""How often a pattern is held against a text only to know whether it matches anything at all."""

_WILD = re.compile(r"[*?\[]")
_NOTHING = fnmatch.translate("[z-a]")
_ID_COMMENT = re.compile(r"(?<!\[)#")  # as no id needs one: a # that is meant is written [#]
_NAME_COMMENT = re.compile(r"\s#")
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)
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
        return f"protected by {self.place} ({self.words})"

    @property
    def place(self) -> str:
        """Return where it stands."""
        return f"{self.source} line {self.line}"

    @property
    def words(self) -> str:
        """Return what it says, safe to show."""
        return f"{NAME * self.of_name}{shorten(self.pattern)}"


class Protection:
    """The rules of all files: says of a campaign by which of them it is protected.

    Texts are compared as they are and folded, so that what looks like a protected campaign is one: to hold back too
    much harms nobody. Ids and names are looked up, patterns by the part before their first wildcard, so 100,000 cost no
    more than one; the patterns that begin alike are one regular expression.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._all = list(rules)
        self._ids = _Rules(rule for rule in self._all if not rule.of_name)
        self._has_ids = bool(self._ids)
        self._names = _Rules(rule for rule in self._all if rule.of_name)

    @property
    def rules(self) -> int:
        """How many rules there are."""
        return len(self._all)

    @property
    def has_names(self) -> bool:
        """Tell whether a rule is held against names, which a list need not have."""
        return bool(self._names)

    def of(self, campaign: Campaign) -> str | None:
        """Say by which rule a campaign is protected, in words for its result line; None when by none."""
        rule = self._ids.match(campaign.campaign_id) if self._has_ids else None
        if rule is None and self._has_ids and not POSSIBLE.fullmatch(campaign.campaign_id):
            rule = self._ids.match(plain_id(campaign.campaign_id))  # a service may take it for that
        if campaign.name is not None and self.has_names:
            of_name = self._names.match(campaign.name)
            rule = rule or of_name
        return None if rule is None else str(rule)

    def unused(self) -> list[Rule]:
        """Return the rules that match none of the campaigns asked for so far."""
        patterns = self._ids.unused | self._names.unused
        return [rule for rule in self._all if (rule.of_name, rule.pattern) in patterns]


class _Rules:
    """Rules for one text: those without wildcards by what they say, patterns by how they begin.

    `unused` are those that have matched no text, as kind and pattern.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._exact: dict[str, Rule] = {}
        self._alike: dict[str, list[Rule]] = {}
        self.unused: set[tuple[bool, str]] = set()
        wild: dict[str, list[tuple[str, Rule]]] = {}
        for rule in rules:
            self.unused.add((rule.of_name, rule.pattern))
            for pattern in _readings(rule.pattern):
                if first := _WILD.search(pattern):
                    wild.setdefault(pattern[: first.start()], []).append((pattern, rule))
                else:
                    self._exact.setdefault(fold(pattern), rule)
                    self._alike.setdefault(fold(pattern), []).append(rule)
        self._wild = {head: _Patterns(patterns) for head, patterns in wild.items()}
        self._lengths = sorted({len(head) for head in wild})

    def __bool__(self) -> bool:
        return bool(self._exact or self._wild)

    def match(self, text: str) -> Rule | None:
        """Return a rule that matches: an exact one, else the pattern with the shortest beginning."""
        folded = fold(text)
        rule = self._exact.get(folded)
        if rule is not None:
            for each in self._alike.pop(folded, ()):
                self._use(each)
        if not self._wild:
            return rule
        for form in (text,) if text == folded else (text, folded):
            for length in self._lengths:
                patterns = self._wild.get(form[:length])
                if patterns is not None and (by_pattern := patterns.match(form)):
                    rule = rule or by_pattern
                    for each in patterns.find_unused(form):
                        self._use(each)
        return rule

    def _use(self, rule: Rule) -> None:
        self.unused.discard((rule.of_name, rule.pattern))


def _readings(pattern: str) -> Iterator[str]:
    """Yield what a pattern may mean: itself, what is quoted by it, and each as it is for folded texts."""
    quoted = _QUOTED.fullmatch(fold_pattern(pattern))
    for each in (pattern, quoted[2].strip()) if quoted else (pattern,):
        yield each
        if _WILD.search(each) and (folded := fold_pattern(each)) != each:
            yield folded


class _Patterns:
    """Patterns that begin alike, as one regular expression.

    Which of them match as well, beside the first, is found out for so long as it does not cost much.
    """

    def __init__(self, rules: Sequence[tuple[str, Rule]]) -> None:
        self._rules = [rule for _, rule in rules]
        self._regex = re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern, _ in rules))
        self._unused: dict[str, list[Rule]] = {}
        for pattern, rule in rules:
            self._unused.setdefault(pattern, []).append(rule)
        self._looks = MOST_LOOKS

    def match(self, text: str) -> Rule | None:
        match = self._regex.match(text)
        return None if match is None else self._rules[(match.lastindex or 1) - 1]

    def find_unused(self, text: str) -> list[Rule]:
        """Return the rules that match a text and none before it; all that are left when it takes too long to tell."""
        if not self._unused:
            return []
        self._looks -= len(self._unused)
        used = [each for each in self._unused if self._looks < 0 or fnmatch.fnmatchcase(text, each)]
        return [rule for each in used for rule in self._unused.pop(each)]


def read_protection(paths: Sequence[str]) -> Protection:
    """Read files of rules, one rule a line; blank lines, and what follows a `#`, are not rules.

    A rule is a campaign id, or a shell pattern for whole ids; behind `name:`, the same for the campaign's name. Letter
    case, the sorts of quotes, dashes and blanks, and what cannot be seen make no difference. Raises InputError for a
    file that cannot be read or holds no rule, and for a line that cannot match anything: what it was to protect would
    be stopped.
    """
    return Protection(rule for path in paths for rule in _read(path))


def _read(path: str) -> list[Rule]:
    from bulkstop.source.unpack import open_members  # a help page reads nothing

    if path == STDIN:
        raise InputError(" -: standard input is for the list; name a file", setting="protect")
    try:
        entry = resolve_input(path, Format.TXT)
        rules = [rule for member in open_members(entry) for rule in _rules_of_member(member)]
    except InputError as error:
        raise InputError(f" {error}", setting="protect") from None
    if not rules:
        why = "contains no rule; leave out the option if nothing has to be protected"
        raise InputError(f" {entry.label}: {why}", setting="protect")
    return rules


def _rules_of_member(member: "Member") -> Iterator[Rule]:
    if member.is_workbook:
        raise InputError(f"{member.label}: is a workbook; save the rules as plain text")
    return _rules(LineReader(open_utf8(member.stream), member.label))


def _rules(reader: LineReader) -> Iterator[Rule]:
    for line, content in read_lines(reader):
        if content.lstrip().startswith("#"):
            continue
        try:
            yield parse_rule(reader.label, line, content)
        except ValueError as fault:
            raise InputError(f"{reader.label}: line {line}: {fault}") from None


def parse_rule(source: str, line: int, content: str) -> Rule:
    """Read a rule; raises ValueError for a text that is none."""
    if fault := text_fault(content):
        raise ValueError(fault)
    pattern = _unquote(content.strip())
    if of_name := fold(pattern[: len(NAME)]) == NAME:
        pattern = pattern[len(NAME) :].strip()
        _check_name(pattern)
    else:
        pattern = _unquote(_ID_COMMENT.split(pattern, maxsplit=1)[0].rstrip())
        _check_id(pattern)
    _check_pattern(pattern)
    return Rule(source, line, pattern, of_name)


def _unquote(text: str) -> str:
    """Return what stands in quotes of any sort, if nothing stands outside them."""
    inside = text[1:-1].strip()
    is_quoted = len(text) > 1 and fold(text[0]) == fold(text[-1]) in ("'", '"')
    return inside if is_quoted and fold(text[0]) not in fold(inside) else text


def _check_name(pattern: str) -> None:
    if not fold(pattern).strip("\"' "):
        raise ValueError(f"no name after {NAME}")
    if _NAME_COMMENT.search(pattern):
        raise ValueError("a # in a name: put the comment on its own line; in a name write [#]")
    if has_controls(pattern):
        raise ValueError(f"{shorten(pattern)!r} holds a control character")


def _check_id(pattern: str) -> None:
    hidden = next((char for char in pattern if not char.isprintable() and not char.isspace()), None)
    if hidden is not None:
        raise ValueError(f"{shorten(pattern)!r} holds a character that cannot be seen (U+{ord(hidden):04X})")
    if stray := _STRAY.search(pattern):
        raise ValueError(
            f"{shorten(pattern)!r} holds {stray[0]!r}: write one id or pattern a line, or {NAME}PATTERN; "
            "put the character between [ and ] if the id has it"
        )
    if pattern in (".", ".."):
        raise ValueError(f"{pattern!r} is a path step, not an id")


def _check_pattern(pattern: str) -> None:
    if len(pattern) > RULE_CHARS:
        raise ValueError(f"the rule has {format_count(len(pattern), 'character')}; at most {RULE_CHARS:,} can be")
    if empty := next((part for part in _brackets(pattern) if fnmatch.translate(part) == _NOTHING), None):
        raise ValueError(f"{shorten(pattern)!r} can match nothing: {shorten(empty)!r} names no character")


def _brackets(pattern: str) -> list[str]:
    """List what stands in brackets, as fnmatch reads them; raises ValueError for one that is not closed."""
    classes, begin = [], pattern.find("[")
    while begin >= 0:
        first = begin + 1 + pattern.startswith("!", begin + 1)
        end = pattern.find("]", first + 1)  # one that comes first stands for itself
        if end < 0:
            raise ValueError(f"{shorten(pattern)!r} has a [ without its ]; for a [ itself write [[]")
        classes.append(pattern[begin : end + 1])
        begin = pattern.find("[", end)
    return classes
