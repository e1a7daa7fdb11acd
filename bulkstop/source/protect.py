"""Protected campaigns, which are never stopped: ids, patterns and names, read from files."""

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
"""Prefix of a rule for the campaign's name; other rules are for its id."""

RULE_CHARS = 1024
"""Longest rule in characters."""
MOST_LOOKS = 100_000
"""Most comparisons of a pattern that only find out whether it matches anything."""

_WILD = re.compile(r"[*?\[]")
_NOTHING = fnmatch.translate("[z-a]")
_ID_COMMENT = re.compile(r"(?<!\[)#")  # ids have no #; a literal # is written [#]
_NAME_COMMENT = re.compile(r"\s#")
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)
# A list of another format, two ids on a line, or an unknown kind of rule: none of them would match anything.
_STRAY = re.compile(r"""[\s,;:"'](?!\])""")


class Rule(NamedTuple):
    """A line of a file of rules, and its pattern."""

    source: str
    line: int
    pattern: str
    of_name: bool = False

    def __str__(self) -> str:
        """Return the place and the text of the rule."""
        return f"protected by {self.place} ({self.words})"

    @property
    def place(self) -> str:
        """Return the place of the rule."""
        return f"{self.source} line {self.line}"

    @property
    def words(self) -> str:
        """Return the text of the rule, safe to show."""
        return f"{NAME * self.of_name}{shorten(self.pattern)}"


class Protection:
    """The rules of all files; finds the rule that protects a campaign.

    Texts are compared unchanged and folded, so that a campaign that looks like a protected one is protected: to protect
    too many is harmless. Ids and names are looked up, patterns by the part before their first wildcard, so that 100,000
    rules cost no more than one; patterns with the same beginning are one regular expression.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._all = list(rules)
        self._ids = _Rules(rule for rule in self._all if not rule.of_name)
        self._has_ids = bool(self._ids)
        self._names = _Rules(rule for rule in self._all if rule.of_name)

    @property
    def rules(self) -> int:
        """The number of rules."""
        return len(self._all)

    @property
    def has_names(self) -> bool:
        """Whether a rule is for names, which a list may lack."""
        return bool(self._names)

    def of(self, campaign: Campaign) -> str | None:
        """Return the rule that protects a campaign, in words for its result line; None without one."""
        rule = self._ids.match(campaign.campaign_id) if self._has_ids else None
        if rule is None and self._has_ids and not POSSIBLE.fullmatch(campaign.campaign_id):
            rule = self._ids.match(plain_id(campaign.campaign_id))  # a service may read the id so
        if campaign.name is not None and self.has_names:
            of_name = self._names.match(campaign.name)
            rule = rule or of_name
        return None if rule is None else str(rule)

    def unused(self) -> list[Rule]:
        """Return the rules that have matched no campaign so far."""
        patterns = self._ids.unused | self._names.unused
        return [rule for rule in self._all if (rule.of_name, rule.pattern) in patterns]


class _Rules:
    """Rules for one kind of text: exact ones by text, patterns by their beginning.

    `unused` has the kind and pattern of those that have matched no text.
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
    """Yield the meanings of a pattern: itself, the text in its quotes, and each one folded."""
    quoted = _QUOTED.fullmatch(fold_pattern(pattern))
    for each in (pattern, quoted[2].strip()) if quoted else (pattern,):
        yield each
        if _WILD.search(each) and (folded := fold_pattern(each)) != each:
            yield folded


class _Patterns:
    """Patterns with the same beginning, as one regular expression.

    Further patterns that match the same text are found as long as that is cheap.
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
        """Return the rules that match a text and none before it; all remaining ones once that would take too long."""
        if not self._unused:
            return []
        self._looks -= len(self._unused)
        used = [each for each in self._unused if self._looks < 0 or fnmatch.fnmatchcase(text, each)]
        return [rule for each in used for rule in self._unused.pop(each)]


def read_protection(paths: Sequence[str]) -> Protection:
    """Read files of rules, one rule a line, without blank lines and comments after a `#`.

    A rule is a campaign id, or a shell pattern for whole ids; after `name:`, the same for the campaign's name. Letter
    case, kinds of quotes, dashes and blanks, and invisible characters are ignored. Raises InputError for a file that
    cannot be read or has no rules, and for a line that cannot match anything, because the campaign that it should
    protect would be stopped.
    """
    return Protection(rule for path in paths for rule in _read(path))


def _read(path: str) -> list[Rule]:
    from bulkstop.source.unpack import open_members  # a help page reads no input

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
    """Return a rule; raises ValueError for an invalid one."""
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
    """Return the text in quotes of any kind, if nothing is outside them."""
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
    """Return the bracket expressions of a pattern, as fnmatch reads them; raises ValueError for an unclosed one."""
    classes, begin = [], pattern.find("[")
    while begin >= 0:
        first = begin + 1 + pattern.startswith("!", begin + 1)
        end = pattern.find("]", first + 1)  # a ] at the beginning is literal
        if end < 0:
            raise ValueError(f"{shorten(pattern)!r} has a [ without its ]; for a [ itself write [[]")
        classes.append(pattern[begin : end + 1])
        begin = pattern.find("[", end)
    return classes
