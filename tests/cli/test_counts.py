"""Numbers agree with their nouns: `1 campaign`, never `1 campaigns`."""

import re
from pathlib import Path

import pytest

import bulkstop
from bulkstop.text import format_count
from tests.cli.conftest import Here
from tests.processes import Simulated

pytestmark = pytest.mark.real

NOUNS = "campaign|row|call|line|account|request|result|page|list|rule|time|schedule|cell|error|failure|id|file"
ONE_OF_MANY = re.compile(rf"(?<![\d.,=])1 (?:result |other |more )?(?:{NOUNS})s\b")
IN_CODE = re.compile(rf"\{{([^{{}}:!]+?)(?::,)?\}} (?:result |more )?(?:{NOUNS})s\b")
"""A value followed by a plural noun, in an f-string."""
VERBS = "were|are|have|do|name"
IN_CODE_WITH_VERB = re.compile(rf"\{{([^{{}}:!]+?):,\}} (?:(?!will )[a-z]+ ){{0,3}}(?:{VERBS})\b")
"""A number followed within a few words by a plural verb, in an f-string."""
WITH_MANY = {"count", "end", "sample.count"}  # only used for more than one
NO_COUNTS = {
    "self.sample",  # always more than one, as are the next two
    "MOST_TIMES",
    "ID_CHARS",
    "_format_lines(lines)",  # from thousands on
    "count",  # only used for more than one
    "settings.type or CampaignType.VOICE",  # not numbers
    "guards.max_failures",  # may be a percentage
    "word",
    "rate",
    "which",
    "scope.campaign_type",
    "lines",
}
ROW = "cd-{},voice,a1,st-1\n"
HEAD = "campaign_id,campaign_type,account_id,stream_id\n"


@pytest.mark.parametrize(
    ("number", "one", "many", "text"),
    [
        (0, "row", None, "0 rows"),
        (1, "row", None, "1 row"),
        (1_200, "row", None, "1,200 rows"),
        (1, "row is", "rows are", "1 row is"),
        (2, "row is", "rows are", "2 rows are"),
    ],
)
def test_format_count(number: int, one: str, many: str | None, text: str) -> None:
    """One is singular, all other numbers are plural, including zero."""
    assert format_count(number, one, many) == text


def test_in_the_code() -> None:
    """No message has a hard-coded plural after a number; exceptions are listed by name."""
    assert bulkstop.__file__ is not None
    found = []
    for path in Path(bulkstop.__file__).parent.rglob("*.py"):
        for line in path.read_text().splitlines():
            if 'f"' in line and '"""' not in line:
                found += [(path.name, each) for each in IN_CODE.findall(line) if each not in NO_COUNTS]
    assert found == []


def test_verbs_in_the_code() -> None:
    """No message has a hard-coded plural verb after a number."""
    assert bulkstop.__file__ is not None
    lines = [line for path in Path(bulkstop.__file__).parent.rglob("*.py") for line in path.read_text().splitlines()]
    found = {each for line in lines if '"""' not in line for each in IN_CODE_WITH_VERB.findall(line)}
    assert found - WITH_MANY == set()


@pytest.fixture
def lists(tmp_path: Path) -> None:
    """Write a list of one row, one with an unusable row, and a file of rules."""
    (tmp_path / "one.csv").write_text(HEAD + ROW.format("f001"))
    (tmp_path / "odd.csv").write_text(HEAD + ROW.format("f002") + "a b,voice,a1,st-1\n")
    (tmp_path / "bad.csv").write_text(HEAD + "a b,voice,a1,st-1\n")
    (tmp_path / "keep.txt").write_text("cd-f001\n")


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    "words",
    [
        "stop one.csv --dry-run --quota 1/2s --quota-store memory --max-failures 1 --max-campaigns 1",
        "stop one.csv --dry-run --protect keep.txt",
        "stop one.csv --dry-run --expect 3",
        "stop one.csv --yes --only-running --disable-schedule --verify",
        "stop one.csv --yes --waves 1,100%",
        "stop one.csv",
        "stop odd.csv --yes",
        "stop odd.csv --yes --strict",
        "stop bad.csv --yes",
        "stop odd.csv --yes --log-json --log-level debug",
        "stop odd.csv --yes --log-level info",
        "verify one.csv",
        "verify odd.csv --all",
        "check one.csv --account-id a1 --stream-id st-1",
        "check odd.csv --account-id a1 --stream-id st-1",
        "discover --account-id a1 --stream-id st-1",
        "load one.csv --rate 1/s --count 1 --yes",
        "load --closed --count 1 --account-id a1 --stream-id st-1 --concurrency 1",
    ],
)
def test_one_of_each(here: Here, sim: Simulated, words: str) -> None:
    """All messages about one campaign, one row and one call are singular, including the report."""
    run = here(*words.split(), "--host", sim.url)
    said = run.out + run.err
    if words.startswith("stop") and Path("one.csv.results.jsonl").exists():
        said += here("report", "one.csv.results.jsonl").out
    assert said
    assert ONE_OF_MANY.findall(said) == [], said
