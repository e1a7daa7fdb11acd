"""The campaign id in a cell, or the reason why there is none."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkstop.ids import LIKELY
from bulkstop.source.clean import MOST_CHARS, clean_id

ONE = "cd-fb797fa-b7d6-467b-2f5a-522af87f43fd"
TWO = "cd-db53334-fb03-23a1-d576-d4155ec17dbe"


@pytest.mark.parametrize("text", [ONE, "cd-1", "A17", "campaign_7", "1.x", "a..b", "..", "", "Ümlaut", "cd-xyz"])
def test_what_stays(text: str) -> None:
    """A plain id is unchanged, except for blanks around it."""
    assert clean_id(text) == ((text,), None, False)
    assert clean_id(f" {text}\t\r\n") == ((text,), None, False)


DECORATED = [
    *("{}\u200b", "\ufeff{}", "\u00a0{}\u00a0", "\u00ad{}\u00ad", "\u2068{}\u2069", "{}\u200e", "{}\u3000", "{}\ufe0f"),
    *('"{}"', "'{}'", "`{}`", "\u201e{}\u201c", "\u201c{}\u201d", "\u2018{}\u2019", "\u00ab{}\u00bb", "\u2039{}\u203a"),
    *("<{}>", "({})", "[{}]", "{{{}}}", "**{}**", "```{}```", '"{}', '="{}"', "| {} |"),
    *("- {}", "* {}", "+ {}", "\u2022 {}", "\u2022{}", "\u2013 {}", "> {}", "\u00b7 {}", "\u25aa {}"),
    *("1. {}", "1.{}", "12) {}", "(3) {}", "7 {}", "7\t{}", "#4 {}", "[ ] {}", "- [ ] {}", "1. `{}`,"),
    *("{},", "{};", "{}.", '"{}",', "{} ,", "{},;"),
    *("{} # billing", "{}\t# was cd-1", "`{}` # x", "- {} # a; b, c"),
    *("https://x.example/campaign/{}", "https://x.example/c/{}/", "<https://x.example/{}>", "http://x/?id={}"),
]


@pytest.mark.parametrize("decorated", DECORATED)
def test_what_is_taken_away(decorated: str) -> None:
    """Characters that may surround one likely id are removed."""
    assert clean_id(decorated.format(ONE)) == ((ONE,), None, True)


@pytest.mark.parametrize("text", ["\u200bA17\u00a0", "\ufeffcampaign_7"])
def test_what_cannot_be_seen(text: str) -> None:
    """Invisible characters at the ends are also removed from an id that is not a likely one."""
    assert clean_id(text) == ((text.strip("\u200b\u00a0\ufeff"),), None, True)


@pytest.mark.parametrize(
    "text",
    [
        *("{};voice", "{} voice", "{}#x", "{}/", "{}?x=1", "{}:", "- [x] {}", "~~{}~~ x", "id: {}", "\u2014{}"),
        *("https://x.example/{}?tab=1", "https://x.example/{0}/" + TWO, "%63d-{}", "{} (billing)", "{} and {}"),
        *(f"{ONE[:20]}\u200b{ONE[20:]}", "cd\u2013fb797fa", '"A17"', "A17,", "- A17", "a b"),
    ],
)
def test_what_is_not_guessed(text: str) -> None:
    """A text with anything else is unchanged; impossible ids are reported elsewhere."""
    text = text.format(ONE, TWO)
    assert clean_id(text) == ((text,), None, False)


@pytest.mark.parametrize(
    "text",
    [
        *("{},{}", "{} {}", "{};{};", "{}\t{}", "{} | {}", "{}{}", "- {} - {}", "1. {} 2. {}", '"{}", "{}"'),
        *("{}\r{}", "{}, {} # both", "https://x/{} https://x/{}", "{} {} {}"),
    ],
)
def test_several_ids(text: str) -> None:
    """Likely ids with only separators between them are returned as several, each once."""
    assert clean_id(text.format(ONE, TWO, ONE)) == ((ONE, TWO), None, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "is cut short") for text in ("cd-5464b37-74ac\u2026", "cd-5464b37-74ac...", "\u202629234da")),
        *((text, "is cut short") for text in ("...b37-74ac", '"cd-5464b37-..."', "cd-", "cd-5464b37-", "abc..")),
        *((text, "a spreadsheet") for text in ("6.7E+23", "6,7E+23", "6.7E23", "5464E+37", "6E+23", '"6.7E+23"')),
        *((text, "the id of an instance") for text in ("cid-12ab-34", "`cid-12ab-34`", "- cid-12ab")),
        *((text, "neither a letter nor a digit") for text in ("-", "---", "_", "~", "...", "-.-")),
        *((text, "means no id") for text in ("NULL", "null", "None", "nan", "NaN", "NA", "undefined")),
        *((text, "is a type") for text in ("voice", "SMS", " Voice ")),
        *((text, "a date") for text in ("05.03.2026", "2026-03-05", "3/5/26", "5-Mar", "Mar-26", "5-Mar-2026")),
        *(
            (text.format(ONE), "more than a campaign id")
            for text in ("{}x", "{}_", "_{}_", "x{}", "-{}", "~~{}~~", ".{}")
        ),
        (f"{ONE}cd-12ab", "more than a campaign id"),
    ],
)
def test_what_can_be_no_id(text: str, why: str) -> None:
    """An id that was cut short, one that a spreadsheet read as a number, and an instance id are reported as such."""
    cleaned = clean_id(text)
    assert cleaned.ids == ()
    assert why in (cleaned.fault or "")


def test_long_texts() -> None:
    """A text longer than any id with its surroundings is not cleaned."""
    text = "- " + "cd-1 " * MOST_CHARS
    assert clean_id(text).ids == (text.strip(),)


BITS = st.sampled_from([*" \t,;.-*1)#\"'`<>[]|/:=?\u00a0\u200b\u2026", "cd-", "cid-", "12ab", "https://", " # "])


@given(st.lists(BITS, max_size=6), st.lists(BITS, max_size=6))
@example(["cd-", "12ab", " # "], [])
def test_never_another_id(before: list[str], after: list[str]) -> None:
    """With anything around it, an id is read alone, as one of several, or not as a likely id at all.

    An id in the note of another is not a reading of the line.
    """
    text = f"{''.join(before)} {ONE} {''.join(after)}"
    ids = clean_id(text).ids
    likely = [each for each in ids if LIKELY.fullmatch(each)]
    is_in_note = re.search(r"\S\s+#", text[: text.index(ONE)])
    assert not likely or ONE in likely or is_in_note
    assert not (is_in_note and ONE in likely)
    assert all(each in text for each in likely)
