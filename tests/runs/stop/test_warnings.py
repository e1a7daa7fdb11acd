"""The warnings before a run."""

import time
from typing import Any

import pytest

from bulkstop.errors import SettingsError
from bulkstop.model import Campaign, CampaignType, Outcome, Result, Row, WarningKind, utc_text
from bulkstop.runs.stop.history import LastRun
from bulkstop.runs.stop.warnings import find_warnings
from bulkstop.runs.wiring import check_accounts
from bulkstop.settings import Settings
from bulkstop.source.plan import Plan
from bulkstop.source.protect import Protection, Rule

ACCOUNT = "644e9b61138c7160307450fa"
LAST = LastRun(25, "2026-01-02T18:00:05.123Z")


def campaign(campaign_id: str, account_id: str = ACCOUNT, name: str | None = None) -> Campaign:
    """Make a campaign."""
    return Campaign.of_row(campaign_id, CampaignType.VOICE, account_id, "st-1", "st-1", "list.csv", 2, name=name)


def plain(number: int) -> list[Row]:
    """Return campaigns without anything unusual."""
    return [campaign(f"cd-{n}") for n in range(number)]


def invalid(line: int, why: str = "no campaign id") -> Result:
    """Make a row that cannot be used."""
    return Result("", None, None, None, Outcome.INVALID, error=why, source="list.csv", line=line)


def warned(rows: list[Row], last: LastRun | None = None, rules: tuple[Rule, ...] = (), **settings: object) -> list[str]:
    """Return the warnings about a list."""
    given = Settings(**{"host": "platform.example.com", **settings})  # type: ignore[arg-type]
    with Plan(rows, protection=Protection(rules)) as plan:
        return find_warnings(plan, given, last)


@pytest.mark.parametrize("last", [None, LAST, LastRun(1_000, LAST.at)])
def test_an_ordinary_list_is_worth_no_word(last: LastRun | None) -> None:
    """Campaign ids, a few duplicate or unusable rows, names or none cause no warning."""
    rows = [*plain(30), campaign("cd-31", name="Reminder"), campaign("cd-1"), invalid(33)]
    assert warned(rows, last, account_id=ACCOUNT) == []
    assert warned(rows, last) == []


def test_instance_ids() -> None:
    """Ids of instances are counted, and the first three named."""
    (line,) = warned([campaign(f"cid-{n}") for n in range(5)])
    assert line == (
        "5 ids look like instance ids (cid-...): cid-0, cid-1, cid-2 and 2 more; "
        "a stop needs campaign ids (cd-...), so the service may not find them"
    )
    assert warned([campaign("cid-1"), *plain(9)])[0].startswith("1 id looks like an instance id (cid-...): cid-1;")


def late(stop_at: float, ages: dict[str, list[float]], number: int = 2, quota: str = "60/60s") -> list[str]:
    """Return the warnings about campaigns that are all to be stopped by this moment."""
    row = {"stop_at": utc_text(stop_at)}
    rows = [campaign(f"cd-{n}")._replace(row=row) for n in range(number)]
    with Plan(rows) as plan:
        return find_warnings(plan, Settings(host="platform.example.com", quota=quota), None, ages=ages)


def test_late_stops() -> None:
    """Campaigns that cannot be stopped in time are counted, including the stored calls of their account."""
    soon = time.time() + 30
    assert late(soon, {}) == []
    assert late(soon, {ACCOUNT: [5.0] * 40}) == []
    assert late(soon, {"other": [5.0] * 60}) == []
    (line,) = late(soon, {ACCOUNT: [5.0] * 60})
    assert line.startswith("2 campaigns will be stopped after stop_at: the quota lets no more leave by then")
    assert late(soon, {ACCOUNT: [45.0] * 60}) == []
    assert late(soon, {}, 62) == [line]
    assert late(soon, {ACCOUNT: [5.0] * 60}, quota="none") == []
    (line,) = late(time.time() - 60, {})
    assert line == "the stop_at of 2 campaigns has passed; stopped at once"


def test_ids_of_no_known_shape() -> None:
    """Ids with an unknown prefix cause a warning with the most helpful question."""
    assert warned([campaign("st-1"), *plain(9)]) == [
        "1 of 10 ids does not look like a campaign id (cd- and groups of hex digits): st-1; is it the right column?"
    ]
    (line,) = warned([campaign(f"{n}") for n in range(4)])
    assert line == (
        "4 of 4 ids do not look like campaign ids (cd- and groups of hex digits): 0, 1, 2 and 1 more; "
        "is it the right column?"
    )
    assert warned([campaign("cd-12ab-34F"), campaign("cd-hotline")])[0].startswith("1 of 2 ids does not look like")


def test_priorities_that_cannot_be_read() -> None:
    """They are counted, with the place of the first, and the message says how they are treated."""
    rows: list[Row] = [campaign("cd-1")._replace(row={"priority": text}) for text in ("high\x07", [1])]
    rows += [campaign(f"cd-{n}")._replace(row={"priority": text}) for n, text in enumerate(("3", None, ""), 2)]
    first = "the first is list.csv line 2: 'high\N{REPLACEMENT CHARACTER}'"
    assert warned(rows[:1]) == [f'1 priority is not a whole number; that matters with order="priority" only; {first}']
    rows[1] = rows[1]._replace(campaign_id="cd-9")  # type: ignore[union-attr]
    for order in ("priority", "priority-ascending"):
        assert warned(rows, order=order) == [f"2 priorities are not whole numbers; sent after all others; {first}"]


def test_several_accounts() -> None:
    """Several accounts are reported with their numbers, the first three by name."""
    rows: list[Row] = [campaign(f"cd-{n}", f"account{n % 5}") for n in range(12)]
    assert warned(rows) == ["the list has campaigns of 5 accounts: account0 (3), account1 (3), account2 (2) and 2 more"]


def test_another_account_than_the_usual_one() -> None:
    """With an account of one's own in the settings, it is the campaigns of others that surprise."""
    assert warned([campaign("cd-1", "other"), *plain(3)], account_id=ACCOUNT) == [
        f"1 campaign is of another account than account_id {ACCOUNT}: other (1)"
    ]
    assert warned([campaign("cd-1", "b"), campaign("cd-2", "c")], account_id=ACCOUNT) == [
        f"2 campaigns are of another account than account_id {ACCOUNT}: b (1), c (1)"
    ]


def test_a_list_much_larger_than_the_last() -> None:
    """A list more than twice as long as the last one of the profile is asked about before anything else."""
    rows: list[Row] = [campaign(f"cid-{n}") for n in range(60)]
    found = warned(rows, LAST)
    assert found[0] == (
        "the list has 60 campaigns to stop, but the last list of this profile had 25 (2026-01-02 18:00 UTC); "
        "is this the right list?"
    )
    assert len(found) == 2
    assert warned(plain(50), LAST) == []


def test_most_rows_cannot_be_used() -> None:
    """When more rows than not cannot be used, the first of them is named with its reason."""
    rows = [invalid(line, "no campaign\x1b[2J id") for line in range(2, 8)]
    assert warned([*rows, *plain(5)]) == [
        "6 of 11 rows cannot be used; the first is list.csv line 2: no campaign\N{REPLACEMENT CHARACTER}[2J id"
    ]
    assert warned([*rows, *plain(6)]) == []


def test_names_are_protected_that_the_list_does_not_have() -> None:
    """A warning says that a rule for names matches nothing in a list without names."""
    rules = (Rule("keep.txt", 1, "Hot*", of_name=True),)
    assert warned([*plain(2), campaign("cd-9", name="Other")], rules=rules) == [
        "2 of 3 campaigns have no name in the list, so no name: rule of protect can match them",
        "1 of 1 rule of protect matches no campaign of this list: keep.txt line 1 (name:Hot*)",
    ]
    assert warned([campaign("cd-8", name="Hotline"), campaign("cd-9", name="Other")], rules=rules) == []


def test_rules_that_hold_nothing_back() -> None:
    """They are counted on one line, the first with their places; a rule that others precede is not among them."""
    rules = [Rule("keep.txt", 1, "cd-1"), Rule("keep.txt", 2, "cd-*"), Rule("keep.txt", 3, "CD-?")]
    idle = [Rule("keep.txt", line, f"Promo {line}\x07*", of_name=True) for line in range(4, 8)]
    assert warned([campaign("cd-1"), campaign("x", name="Other")], rules=tuple(rules))[1:] == []
    *_, line = warned([campaign("cd-1"), campaign("x", name="Other")], rules=(*rules, *idle))
    assert line == (
        "4 of 7 rules of protect match no campaign of this list: keep.txt line 4 (name:Promo 4\ufffd*), "
        "keep.txt line 5 (name:Promo 5\ufffd*), keep.txt line 6 (name:Promo 6\ufffd*) and 1 more"
    )


def test_all_is_protected() -> None:
    """A rule that holds everything back is allowed, and said."""
    assert warned(plain(2), rules=(Rule("keep.txt", 1, "*"),)) == [
        "every campaign is protected, so nothing will be sent"
    ]


@pytest.mark.parametrize(
    ("host", "count"),
    [("http://10.0.0.1:8080", 1), ("http://127.0.0.1:8080", 0), ("http://localhost", 0), ("https://10.0.0.1", 0)],
)
def test_plain_http_is_said(host: str, count: int) -> None:
    """An address at which the token can be read on its way is named, unless it is this machine."""
    found = warned(plain(1), host=host, insecure_http=True)
    assert len(found) == count
    assert all(f"{host} is plain http" in line for line in found)


@pytest.mark.parametrize("text", ["cid-\x85\u2028", "\u202ereversed", "cid-" + "x" * 900, "odd\u00a0id"])
def test_what_is_shown_is_safe_to_show(text: str) -> None:
    """For any id, its warning is one short line without control characters."""
    (line,) = warned([campaign(text)])
    assert line.isprintable()
    assert len(line) < 250


def test_expected_accounts_are_worth_no_word() -> None:
    """The number of accounts that a profile declares causes no warning; fewer do."""
    rows: list[Row] = [campaign("cd-1"), campaign("cd-2", "other")]
    assert warned(rows, expect_accounts=2) == []
    assert warned(rows, expect_accounts="2", account_id=ACCOUNT) == []
    assert warned(rows, expect_accounts=3) == [
        f"the list has campaigns of 2 accounts, not of 3: {ACCOUNT} (1), other (1)"
    ]


def test_more_accounts_than_expected_are_refused() -> None:
    """A list with campaigns of an unexpected account is not sent."""
    given = Settings(host="platform.example.com", expect_accounts=1)
    with pytest.raises(SettingsError, match=r"expect_accounts 1: the list has campaigns of 2 accounts \(a, b\)"):
        check_accounts(given, {"a": 1, "b": 2})
    check_accounts(given, {"a": 1})


SHOWING: dict[WarningKind, tuple[list[Row], dict[str, Any]]] = {
    WarningKind.INSTANCE_IDS: ([campaign("cid-1"), *plain(9)], {}),
    WarningKind.ODD_IDS: ([campaign("st-1"), *plain(9)], {}),
    WarningKind.ODD_PRIORITIES: ([campaign("cd-1")._replace(row={"priority": "high"})], {}),
    WarningKind.UNUSABLE_ROWS: ([*plain(1), invalid(3), invalid(4)], {}),
    WarningKind.ACCOUNTS: ([campaign("cd-1"), campaign("cd-2", "other")], {}),
    WarningKind.PLAIN_HTTP: (plain(1), {"host": "http://10.0.0.1", "insecure_http": True}),
}


@pytest.mark.parametrize("kind", SHOWING)
def test_an_expected_warning_is_worth_no_word(kind: WarningKind) -> None:
    """An expected warning is not shown if it comes, and is reported if it does not."""
    rows, more = SHOWING[kind]
    assert len(warned(rows, **more)) == 1
    assert warned(rows, expect_warnings=[kind.value], **more) == []
    assert warned(plain(1), expect_warnings=kind.value) == [
        f'expect_warnings="{kind}": no such warning came; is this the right list?'
    ]
