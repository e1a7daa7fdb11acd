"""The list of discover: its contents, that `stop` reads it, and that it exists completely or not at all."""

import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkstop import source
from bulkstop.ids import id_fault
from bulkstop.kore.calls import Call, T
from bulkstop.kore.exchange import Response
from bulkstop.model import Attempt, Campaign, CampaignType, Defaults, ListedCampaign, Scope
from bulkstop.report.lists.discovery import COLUMNS, to_csv, to_jsonl
from bulkstop.runs.lists.discover import make_discovery, make_filter
from bulkstop.runs.lists.listing import ListFilter, Listing
from bulkstop.runs.lists.roster import Roster
from bulkstop.source.rows import field_of
from bulkstop.text.cells import is_kept
from tests.kore.test_calls import PAGES, VALUES
from tests.runs.lists.test_listing import read as read_lists

VOICE = Scope("a1", "st-1", "app-1", CampaignType.VOICE)
SMS = VOICE._replace(campaign_type=CampaignType.SMS)
PROMO = ListedCampaign(
    *("cd-1", CampaignType.VOICE, "Promo", "Active", 2, True, True, "2025-12-05T12:01:35.312Z"),
    *("Power", "NORMAL", "2025-12-05T13:00:00.000Z", 7),
)
Rows = list[tuple[Scope, ListedCampaign]]

IDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).filter(
    # the name of a column is a repeated header skipped, and no row
    lambda text: text == text.strip() and id_fault(text, any_id=True) is None and field_of(text) is None
)
ODD = ["=1+1", "a\nb", 'a"b,c', "\x1b[2J", "'a'", "-10% off", "a;=1", "\\u202e", "\u202e"]
TEXTS = st.none() | st.text(st.characters(codec="utf-8")) | st.sampled_from(ODD)
ROWS = st.lists(
    st.builds(
        lambda kind, *item: (VOICE._replace(campaign_type=kind), ListedCampaign(item[0], kind, *item[1:])),
        st.sampled_from(CampaignType),
        IDS | st.builds(str.__add__, st.sampled_from("=+-@'"), IDS),
        TEXTS,
        TEXTS,
        st.none() | st.integers(0, 9),
        st.none() | st.booleans(),
        st.none() | st.booleans(),
        TEXTS,
        TEXTS,
        TEXTS,
        TEXTS,
        st.none() | st.integers(0, 9),
    ),
    unique_by=lambda row: row[1].campaign_id,
)


def read_back(data: bytes, ending: str, folder: Path) -> list[Campaign]:
    """Read a list as `stop` does; every row of it must be a campaign."""
    path = folder / f"list{ending}"
    path.write_bytes(data)
    rows = list(source.read([str(path)], defaults=Defaults(), any_id=True))
    assert all(isinstance(row, Campaign) for row in rows), rows
    return [row for row in rows if isinstance(row, Campaign)]


def test_csv() -> None:
    """The list has the columns that are promised, in order."""
    rows = [(VOICE, PROMO), (SMS, ListedCampaign("cd-2", CampaignType.SMS))]
    assert to_csv(rows).decode() == (
        "campaign_id,campaign_type,account_id,stream_id,iid,name,status,priority,recurring,updated_at,"
        "dialing_mode,execution_type,instance_updated_at,messages_sent\n"
        "cd-1,voice,a1,st-1,app-1,Promo,Active,2,true,2025-12-05T12:01:35.312Z,"
        "Power,NORMAL,2025-12-05T13:00:00.000Z,7\n"
        "cd-2,sms,a1,st-1,app-1,,,,,,,,,\n"
    )


def test_jsonl() -> None:
    """The same as JSON lines; what is not known is null."""
    lines = to_jsonl([(VOICE, PROMO), (SMS, ListedCampaign("cd-2", CampaignType.SMS))]).splitlines()
    assert json.loads(lines[0]) == dict(
        zip(
            COLUMNS,
            ["cd-1", "voice", "a1", "st-1", "app-1", "Promo", "Active", 2, True, *PROMO[7:]],
            strict=True,
        )
    )
    assert list(json.loads(lines[1]).values())[5:] == [None] * 9


def test_nothing_found(tmp_path: Path) -> None:
    """An empty list is one that `stop` can read, and finds empty."""
    assert to_csv([]).decode() == ",".join(COLUMNS) + "\n"
    assert to_jsonl([]) == b""
    assert read_back(to_csv([]), ".csv", tmp_path) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_stop_reads_what_was_found(rows: Rows, tmp_path: Path) -> None:
    """For any ids and names, both formats give `stop` the same campaigns, with the service's ids."""
    wanted = [(item.campaign_id, *group[:4]) for group, item in rows]
    for data, ending in ((to_csv(rows), ".csv"), (to_jsonl(rows), ".jsonl")):
        back = read_back(data, ending, tmp_path)
        assert [(c.campaign_id, c.account_id, c.stream_id, c.iid, c.campaign_type) for c in back] == wanted
        assert [c.priority for c in back] == [item.priority for _, item in rows]
        assert [c.name for c in back] == [(item.name or "").strip() or None for _, item in rows]
        assert data.count(b"\n") == len(rows) + (ending == ".csv")
        assert all(is_kept(char) or char == "\n" for char in data.decode())


@settings(max_examples=100)
@given(rows=ROWS)
def test_no_formula_but_an_id(rows: Rows) -> None:
    """No cell is run by a spreadsheet as a formula, except ids, which must not change."""
    for cells in list(csv.reader(to_csv(rows).decode().splitlines()))[1:]:
        assert not any(re.search(r"(\A|[,;|])[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]", cell) for cell in cells[5:])


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("Promo*", 4),
        ("promo - now", 2),
        ("PROMO*", 4),
        ("Promo \u2013 now", 2),
        ("Promo", 0),
        ("Pr?mo*", 4),
    ],
)
def test_names_that_match(pattern: str, count: int) -> None:
    """A pattern matches names in any letter case, with any kinds of blanks and dashes."""
    names = ["Promo - now", "PROMO \u2013  now", "\u200bPromo\u00a0x", "Pro\u00admo y", "Other"]
    items = {f"cd-{n}": PROMO._replace(campaign_id=f"cd-{n}", name=name) for n, name in enumerate(names)}
    assert len(make_discovery(Roster({VOICE: Listing(VOICE, items)}), pattern).rows) == count


class Once:
    """A service that gives the same body for every page, and a sound one for nothing."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def ask(self, call: Call[T], /) -> T | Attempt:
        """Answer."""
        return call.read(Response(200, self._body, 1.0))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.one_of(VALUES, PAGES),
    wanted=st.sampled_from([ListFilter(), ListFilter(("Active",)), ListFilter((), (1, 2)), ListFilter(running=True)]),
)
def test_any_answer_makes_a_sound_list(value: object, wanted: ListFilter, tmp_path: Path) -> None:
    """Any response leads to a failure with its reason, or to a list that `stop` can read."""
    for one in read_lists(Once(json.dumps(value).encode()), VOICE, SMS, wanted=wanted):
        assert one.failure is None or one.failure.error
        rows = [(one.scope, item) for item in one.items.values()]
        for data, ending in ((to_csv(rows), ".csv"), (to_jsonl(rows), ".jsonl")):
            assert [c.campaign_id for c in read_back(data, ending, tmp_path)] == list(one.items)


def test_ids_that_are_not_possible() -> None:
    """An id that is not possible is left out and named, unless it is one that any_id allows."""
    rows = [{"_id": text, "status": "Active"} for text in ("cd-1", "cd 2", "cd-0/../cd-1")]
    service = Once(json.dumps({"status": "success", "data": {"results": rows}}).encode())
    (strict,), (lenient,) = (read_lists(service, VOICE, any_id=any_id) for any_id in (False, True))
    assert list(strict.items) == ["cd-1"]
    assert [line.partition(" holds ")[2][:6] for line in strict.unusable] == ["U+0020", "U+002F"]
    assert list(lenient.items) == ["cd-1", "cd 2"]
    assert [line.partition(" holds ")[2][:6] for line in lenient.unusable] == ["U+002F"]


def test_a_campaign_of_two_types(tmp_path: Path) -> None:
    """A service that ignores the type returns each campaign twice; it is written once, with a note."""
    body = b'{"status":"success","data":{"results":[{"_id":"-cd-1","status":"Active"},{"status":"Active"}]}}'
    lists = read_lists(Once(body), VOICE, SMS, wanted=ListFilter(), any_id=False)
    found = make_discovery(Roster({one.scope: one for one in lists}))
    assert [(group, item.campaign_id) for group, item in found.rows] == [(VOICE, "-cd-1")]
    assert found.notes == (
        "voice campaigns of account a1: 1 left out, because they cannot be used; first: campaign '?': no campaign id",
        "sms campaigns of account a1: 1 left out, because they cannot be used; first: campaign '?': no campaign id",
        "campaigns listed with both types: 1; each is written once, with the type listed first",
        "ids that a spreadsheet would run as formulas: 1; they are written unchanged",
    )


@pytest.mark.parametrize("turned", [False, True])
def test_a_campaign_that_runs_as_one_of_two_types(turned: bool) -> None:
    """If a campaign has both types, or two rows in a list, the running one is written."""
    rest, runs = (
        ListedCampaign("cd-1", VOICE.campaign_type, status="Stopped"),
        ListedCampaign("cd-1", SMS.campaign_type, status="Active"),
    )
    lists = [Listing(VOICE, {"cd-1": rest}), Listing(SMS, {"cd-1": runs}, doubled=1)]
    found = make_discovery(Roster({one.scope: one for one in (lists[::-1] if turned else lists)}))
    assert found.rows == ((SMS, runs),)
    assert "sms campaigns of account a1: listed more than once: 1; a row that runs wins" in found.notes
    but = "" if turned else ", but for 1 of which only the other one runs"
    both = "campaigns listed with both types: 1; each is written once, with the type listed first"
    assert f"{both}{but}" in found.notes


STATES = ["Active", "preparing", "Rerun", None, "Ready", "Paused", "COMPLETED", "Stopped", "Scheduled", "Rescheduled"]


def test_what_runs() -> None:
    """Active, Preparing and undocumented statuses run; the others are counted by state."""
    body = json.dumps(
        {
            "status": "success",
            "data": {"results": [{"_id": f"cd-{n}", "status": state} for n, state in enumerate(STATES)]},
        }
    ).encode()
    (one,) = read_lists(Once(body), VOICE, wanted=make_filter())
    found = make_discovery(Roster({VOICE: one}), is_whole=True)
    assert [item.status for _, item in found.rows] == ["Active", "preparing", "Rerun", None]
    assert found.left_out == dict.fromkeys(["Ready", "Paused", "Completed", "Stopped", "Scheduled", "Rescheduled"], 1)
    assert "in an undocumented state, so they may run and are listed: 1 Rerun, 1 no state" in found.notes


def test_what_is_left_out_is_counted_once() -> None:
    """Campaigns that a name or priority leaves out are counted by state; one in both lists counts once."""
    rows = [{"_id": "cd-1", "name": "A"}, {"_id": "cd-2", "name": "B"}, {"_id": "cd-3", "status": "Ready"}]
    body = json.dumps(
        {"status": "success", "data": {"results": [{"status": "Active", "priority": "5"} | row for row in rows]}}
    ).encode()
    lists = Roster({one.scope: one for one in read_lists(Once(body), VOICE, SMS, wanted=make_filter())})
    found = make_discovery(lists, "A", is_whole=True)
    assert ([item.campaign_id for _, item in found.rows], found.left_out) == (["cd-1"], {"Active": 1, "Ready": 1})
    lists = Roster({one.scope: one for one in read_lists(Once(body), VOICE, wanted=make_filter(priorities=[1]))})
    assert make_discovery(lists, is_whole=True).left_out == {"Active": 2, "Ready": 1}


@pytest.mark.parametrize(
    ("words", "asked", "fits"),
    [
        (["running"], (), ["Active", "Preparing", "Rerun"]),
        (["running", "Scheduled"], (), ["Active", "Preparing", "Rerun", "Scheduled"]),
        (["Scheduled"], ("Scheduled",), ["Scheduled"]),
        (["Scheduled", "all"], (), ["Active", "Preparing", "Rerun", "Scheduled", "Ready"]),
        ([], (), ["Active", "Preparing", "Rerun", "Scheduled", "Ready"]),
    ],
)
def test_words_for_states(words: list[str], asked: tuple[str, ...], fits: list[str]) -> None:
    """`running` selects all that may run, `all` any status; both need the whole list of the service."""
    wanted = make_filter(words)
    states = ["Active", "Preparing", "Rerun", "Scheduled", "Ready"]
    assert [state for state in states if wanted.fits(PROMO._replace(status=state))] == fits
    assert wanted.asked == (asked, ())


def test_emergencies_are_named() -> None:
    """Campaigns with another execution type than NORMAL are named; those without one are not."""
    kinds = ["normal", None, "EMERGENCY", "Odd"]
    items = {f"cd-{n}": PROMO._replace(campaign_id=f"cd-{n}", execution_type=kind) for n, kind in enumerate(kinds)}
    found = make_discovery(Roster({VOICE: Listing(VOICE, items)}))
    assert "not of the execution type NORMAL: cd-2 (EMERGENCY), cd-3 (Odd)" in found.notes


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_rows_the_one_that_runs_now(turned: bool) -> None:
    """Of two rows of a campaign, paused and active, the active one counts, in any order."""
    rows = [{"_id": "cd-1", "status": "Paused"}, {"_id": "cd-1", "status": "Active"}]
    body = json.dumps({"status": "success", "data": {"results": rows[::-1] if turned else rows}}).encode()
    (one,) = read_lists(Once(body), VOICE, wanted=make_filter())
    assert [item.status for item in one.items.values()] == ["Active"]
