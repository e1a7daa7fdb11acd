"""Files that say what is never to be stopped."""

import fnmatch
import gzip
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.ids import POSSIBLE, plain_id
from bulkstop.model import Campaign, CampaignType
from bulkstop.source.protect import Protection, parse_rule, read_protection
from bulkstop.text.likeness import fold

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of rules and give its path."""

    def written(content: str | bytes, name: str = "keep.txt") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return written


def campaign(campaign_id: str, name: str | None = None) -> Campaign:
    """Make a campaign of this id and name."""
    return Campaign.of_row(campaign_id, CampaignType.VOICE, "a" * 24, "st-1", "st-1", "list.csv", 2, name=name)


def test_an_id_is_protected_by_its_line(write: Write) -> None:
    """A protected campaign names the line and file of its rule; another one is not protected."""
    path = write("# never\n\ncd-1\n  cd-2  \n")
    protection = read_protection([path])
    assert protection.of(campaign("cd-1")) == f"protected by {path} line 3 (cd-1)"
    assert protection.of(campaign("cd-2")) == f"protected by {path} line 4 (cd-2)"
    assert protection.of(campaign("cd-3")) is None
    assert protection.of(campaign("cd-11")) is None
    assert protection.rules == 2


@pytest.mark.parametrize(
    ("pattern", "matches", "free"),
    [
        ("cd-123*", ["cd-123", "cd-1234"], ["cd-12", "xcd-123"]),
        ("cd-aB-*", ["cd-aB-1", "CD-Ab-1"], ["cd-a"]),
        ("cd\u20131", ["cd-1"], ["cd1"]),
        ("cd-1#vip", ["cd-1"], ["cd-1vip"]),
        ('"cd-1"', ["cd-1"], ["cd-2"]),
        ("\u201ccd-1*\u201d # vip", ["cd-12"], ["cd-2"]),
        ("cd-1?", ["cd-12", "cd-1x"], ["cd-1", "cd-123"]),
        ("cd-[12]", ["cd-1", "cd-2"], ["cd-3", "cd-12"]),
        ("cd-[!1]", ["cd-2"], ["cd-1"]),
        ("*", ["cd-1", "anything at all"], []),
        ("cd.1", ["cd.1"], ["cd-1"]),
        ("cd-1[,]2", ["cd-1,2"], ["cd-12"]),
        ("cd-[[]1", ["cd-[1"], ["cd-1"]),
        ("cd-1 # the hotline", ["cd-1", "cd-1 # the hotline"], ["cd-1 the hotline"]),
        ("cd-1[#]2", ["cd-1#2"], ["cd-1"]),
    ],
)
def test_a_pattern_holds_whole_ids(write: Write, pattern: str, matches: list[str], free: list[str]) -> None:
    """Wildcards are those of a shell, for the whole id in any letter case; quotes and comments are ignored."""
    protection = read_protection([write(pattern)])
    assert [each for each in matches if protection.of(campaign(each)) is None] == []
    assert [each for each in free if protection.of(campaign(each)) is not None] == []


@pytest.mark.parametrize(
    "campaign_id", ["cd-1;x", "cd-1?x", "cd-1#x", " cd-1", "cd-1\u200b", "\uff43d-1", "cd\uff0d1;"]
)
@pytest.mark.parametrize("rule", ["cd-1", "cd-?"])
def test_nothing_gets_round_a_rule(write: Write, rule: str, campaign_id: str) -> None:
    """An id that a service may take for a protected one is protected; only --any-id lets such ids come so far."""
    assert campaign(campaign_id).fault
    assert read_protection([write(rule)]).of(campaign(campaign_id)) is not None


@pytest.mark.parametrize("rule", ["name:Hotline*", "name: Hotline *", "NAME:Hotline open, day and night"])
def test_a_name_is_held_against_names_alone(write: Write, rule: str) -> None:
    """A rule for names looks at the name of a campaign and never at its id; one without a name cannot match."""
    protection = read_protection([write(rule)])
    assert protection.has_names
    assert protection.of(campaign("cd-1", "Hotline open, day and night")) is not None
    assert protection.of(campaign("cd-1", "A hotline open, day and night")) is None
    assert protection.of(campaign("cd-1")) is None
    assert protection.of(campaign("Hotline open, day and night")) is None


def test_a_name_rule_is_told_as_it_is_written(write: Write) -> None:
    """The reason shows that the rule is for names."""
    path = write("cd-9\nname:Hot*\n")
    assert read_protection([path]).of(campaign("cd-1", "Hotline")) == f"protected by {path} line 2 (name:Hot*)"


def test_of_many_patterns_the_one_that_matches_is_named(write: Write) -> None:
    """Though patterns are put together, the line named is one that matches, of those that begin alike the first."""
    path = write("".join(f"cd-{n}-*\n" for n in range(200)) + "cd-7*a\ncd-7*\n*-end\n")
    protection = read_protection([path])
    assert protection.of(campaign("cd-17-x")) == f"protected by {path} line 18 (cd-17-*)"
    assert protection.of(campaign("cd-7a")) == f"protected by {path} line 201 (cd-7*a)"
    assert protection.of(campaign("cd-7x")) == f"protected by {path} line 202 (cd-7*)"
    assert protection.of(campaign("x-end")) == f"protected by {path} line 203 (*-end)"
    assert protection.of(campaign("cd-200-x")) is None


def test_files_add_up(write: Write) -> None:
    """Each file of rules counts; without any nothing is protected."""
    protection = read_protection([write("cd-1", "one.txt"), write("cd-2", "two.txt"), write("cd-1\ncd-3", "three.txt")])
    assert [protection.of(campaign(f"cd-{n}")) is not None for n in range(1, 5)] == [True, True, True, False]
    assert "one.txt line 1" in str(protection.of(campaign("cd-1")))
    assert read_protection([]).of(campaign("cd-1", "x")) is None
    assert not read_protection([]).has_names


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfcd-1\r\ncd-2\r\n", b"cd-1\ncd-2", b"\n\n  \n\xc2\xa0cd-1\t\n#\n# cd-9\ncd-2\n\n"],
)
def test_however_it_was_saved(write: Write, content: bytes) -> None:
    """A byte order mark, CR LF, white space around a rule and a missing last line end change nothing."""
    protection = read_protection([write(content)])
    assert [protection.of(campaign(f"cd-{n}")) is not None for n in (1, 2, 9)] == [True, True, False]


def test_gzip_and_pipes(write: Write, tmp_path: Path) -> None:
    """A packed file is unpacked, and what a shell writes for <(...) can be read."""
    assert read_protection([write(gzip.compress(b"cd-1\n"), "keep.txt.gz")]).of(campaign("cd-1"))
    out, into = os.pipe()
    try:
        os.write(into, b"cd-2\n")
        os.close(into)
        assert read_protection([f"/dev/fd/{out}"]).of(campaign("cd-2"))
    finally:
        os.close(out)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "contains no rule"),
        (b"\n# only this\n   \n", "contains no rule"),
        (b"cd-1\ncd-\x002\n", "line 2: the row holds a NUL byte"),
        (b"cd-1\ncd-\x1b[2m*\n", r"line 2: .* cannot be seen \(U\+001B\)"),
        ("cd-1\u200b\n".encode(), r"line 1: .* cannot be seen \(U\+200B\)"),
        (b"cd-\xff\n", "line 1: the row holds bytes that are not UTF-8"),
        ("cd-1\n".encode("utf-16"), "is UTF-16"),
        (b"PK\x03\x04\n", "the packed file is damaged"),
        (b"cd-1\rcd-2\r", "CR alone"),
        (b"campaign_id,type\ncd-1,voice\n", r"line 1: .* holds ','.* between \[ and \]"),
        (b'{"campaign_id": "cd-1"}\n', "line 1: .* holds '\"'"),
        (b'"cd-1\n', "line 1: .* holds '\"'"),
        ("name:\u200b\n".encode(), "line 1: no name"),
        (b'name:""\n', "line 1: no name"),
        (b"cd-1 cd-2\n", "line 1: .* holds ' '"),
        (b"cd-1\tkeep\n", r"line 1: .* holds '\\t'"),
        (b"account:64f0*\n", "line 1: .* holds ':'"),
        (b"name:\n", "line 1: no name"),
        (b"name:Hot\x07line\n", "line 1: .* control character"),
        (b"name:Hotline # keep\n", "line 1: a # in a name"),
        (b"cd-[12\n", r"line 1: .* has a \[ without its \]"),
        (b"cd-[z-a]\n", "line 1: .* can match nothing"),
        (b"..\n", "line 1: .* path step"),
        (b"x" * 1025, "line 1: the rule has 1,025 characters"),
        (b"x" * 2_000_000, "line 1: the row is longer"),
    ],
)
def test_a_rule_that_protects_nothing_is_refused(write: Write, content: bytes, reason: str) -> None:
    """A line that could not protect anything is an error with its place, not a campaign stopped by mistake."""
    with pytest.raises(InputError, match=reason) as raised:
        read_protection([write(content)])
    assert str(raised.value).startswith("protect ")
    assert "keep.txt" in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, write: Write) -> None:
    """A file that is missing, a folder, standard input or a torn archive is an error that names it."""
    packed = gzip.compress("".join(f"cd-{n}\n" for n in range(1000)).encode())
    for path, reason in [
        (str(tmp_path / "none.txt"), "No such file"),
        (str(tmp_path), "is a directory"),
        ("/proc/self/mem", "cannot be read further: .*Input/output error"),
        ("-", "standard input is for the list"),
        (write(packed[:-20], "keep.txt.gz"), "line .*: cannot be read further"),
    ]:
        with pytest.raises(InputError, match=reason):
            read_protection([path])


@pytest.mark.full
@pytest.mark.parametrize("rule", ["cd-{}", "cd-{}-*"])
def test_100_000_rules_are_looked_up(write: Write, rule: str) -> None:
    """100,000 rules are read and looked up in far less time than one call takes each."""
    number = 100_000 if "*" not in rule else 10_000
    protection = read_protection([write("".join(rule.format(n) + "\n" for n in range(number)))])
    asked = [campaign(rule.format(n).replace("*", "x")) for n in range(number // 2, number * 3 // 2)]
    began = time.process_time()
    matches = sum(protection.of(each) is not None for each in asked)
    assert matches == number // 2
    assert time.process_time() - began < 2.0  # a search through the rules would take minutes


def test_a_pattern_full_of_stars_ends(write: Write) -> None:
    """No pattern makes an id take exponential time."""
    protection = read_protection([write("*a" * 200 + "b")])
    began = time.process_time()
    assert protection.of(campaign("a" * 1024)) is None
    assert time.process_time() - began < 5.0


CHARS = st.sampled_from("cd-1aA?*[]!^-.|()\\#,é\n ")
TEXTS = st.text(CHARS, max_size=12)


def rule_or_none(content: str) -> Protection | None:
    """Return the protection that one line makes; None when the line is refused."""
    try:
        return Protection([parse_rule("keep.txt", 1, content)])
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("name:\u00d6sterreich*", "O\u0308sterreich Ru\u0308ckruf"),
        ("name:Do not stop", "Do\u00a0not stop"),
        ("name:Do not stop", "Do  not stop"),
        ("name:Don't stop", "Don\u2019t stop"),
        ("name:Callback - urgent", "Callback \u2013 urgent"),
        ("name:Recall*", "recall hotline"),
        ("name:Recall*", "\u200bRecall line"),
        ("name:Recall*", "\ufeffRecall line"),
        ('name:"Recall*"', "Recall line"),
        ('name:"Recall*"', '"Recall line"'),
        ('"name:Recall*"', "Recall line"),
        ("name\uff1aRecall*", "Recall line"),
        ("name:R\u00e9call*", "RE\u0301CALL line"),
        ("name:Stra?e", "Stra\u00dfe"),
        ("name:STRASSE", "Stra\u00dfe"),
        ("name:\uff32\uff45\uff43\uff41\uff4c\uff4c", "Recall"),
        ("name:Was\uff1f", "Was\uff1f"),
        ("name:\uff3bx\uff3d", "\uff3bx\uff3d"),
        ("name:re\u00adcall", "Recall"),
        ("name:Don\u00b4t", "Don`t"),
    ],
)
def test_a_name_that_looks_like_a_protected_one_is_one(write: Write, rule: str, name: str) -> None:
    """A difference that neither a reader of names nor a lenient service sees does not matter to a rule."""
    assert read_protection([write(rule + "\n")]).of(campaign("cd-1", name)) is not None


@given(pattern=TEXTS, campaign_id=TEXTS)
@example(pattern="[]-a]", campaign_id="b")
@example(pattern="[!]]", campaign_id="]")
@example(pattern="[^a]", campaign_id="^")
@example(pattern="a", campaign_id="a\n")
def test_an_id_is_held_when_the_shell_says_so(pattern: str, campaign_id: str) -> None:
    """For any rule and id: an accepted rule matches what fnmatchcase matches, the id or its plain form."""
    protection = rule_or_none(pattern)
    assume(protection is not None)
    assert protection is not None
    written = re.split(r"(?<!\[)#", pattern.strip())[0].rstrip()
    forms = {campaign_id, campaign_id if POSSIBLE.fullmatch(campaign_id) else plain_id(campaign_id)}
    if any(fnmatch.fnmatchcase(form, written) for form in forms):
        assert protection.of(campaign(campaign_id)) is not None


@given(patterns=st.lists(TEXTS, min_size=1, max_size=8), campaign_id=TEXTS)
def test_together_rules_hold_what_each_of_them_holds(patterns: list[str], campaign_id: str) -> None:
    """Rules in one regular expression hold what they hold one by one, and the one that is named does match."""
    rules = []
    for line, pattern in enumerate(patterns):
        try:
            rules.append(parse_rule("keep.txt", line, pattern))
        except ValueError:
            continue
    reason = Protection(rules).of(campaign(campaign_id))
    singly = [str(rule) for rule in rules if Protection([rule]).of(campaign(campaign_id))]
    assert (reason is not None) is bool(singly)
    assert reason is None or reason in singly


@given(pattern=TEXTS, name=TEXTS)
def test_a_name_is_held_when_the_shell_says_so(pattern: str, name: str) -> None:
    """A name is held that matches as it is, or folded; without wildcards, exactly one that folds to the same."""
    protection = rule_or_none(f"name:{pattern}")
    assume(protection is not None)
    assert protection is not None
    is_held = protection.of(campaign("cd-1", name)) is not None
    if fnmatch.fnmatchcase(name, pattern.strip()):
        assert is_held
    if not re.search(r"[*?\[\"']", pattern):
        assert is_held is (fold(name) == fold(pattern))


@given(content=st.binary(max_size=60))
def test_any_file_is_rules_or_one_line_of_refusal(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any file is read or refused with an InputError that is safe to show."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content)
    reason = ""
    try:
        protection = read_protection([str(path)]).rules
    except InputError as error:
        protection, reason = 0, str(error)
    assert bool(protection) is not bool(reason)
    assert reason.isprintable()
