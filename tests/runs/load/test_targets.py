"""Which campaigns the requests of a load test are for."""

import itertools
import uuid
from pathlib import Path

import pytest

from bulkstop.errors import InputError, SettingsError
from bulkstop.model import CampaignType
from bulkstop.runs.load import targets
from bulkstop.runs.load.targets import (
    PREFIX,
    choose_targets,
    cycle_targets,
    describe_targets,
    make_stem,
    make_targets,
    read_targets,
)
from bulkstop.settings import Settings

HOST = "http://127.0.0.1:1"
OURS = Settings(host=HOST, account_id="a", stream_id="s")


def test_cycled_in_the_order_of_the_list(tmp_path: Path) -> None:
    """A list is gone through in its order, across its accounts, again and again; what cannot be sent is left out."""
    path = tmp_path / "list.csv"
    path.write_text(
        "campaign_id,campaign_type,account_id,stream_id\n"
        "c1,voice,a2,s\nc2,sms,a1,s\nc3,voice,a2,s\n,voice,a1,s\nc2,sms,a1,s\nc4,voice,a3,s\nkeep,voice,a1,s\n"
    )
    protect = tmp_path / "protect.txt"
    protect.write_text("keep\n")
    with read_targets(str(path), Settings(host=HOST, protect=(str(protect),))) as plan:
        drawn = list(itertools.islice(cycle_targets(plan), 10))
        assert [campaign.campaign_id for campaign in drawn] == ["c1", "c2", "c3", "c4"] * 2 + ["c1", "c2"]
        assert [campaign.account_id for campaign in drawn[:4]] == ["a2", "a1", "a2", "a3"]
        assert plan.held.total() == 3


@pytest.mark.parametrize("kept", [0, 10])
@pytest.mark.parametrize("accounts", [1, 3])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_cycled_together(
    processes: int, accounts: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several that draw in turn give the list in its order, again and again; of made-up ones no two the same."""
    monkeypatch.setattr(targets, "KEPT", kept)
    path = tmp_path / "list.csv"
    rows = [f"c{number},voice,a{number % accounts},s\n" for number in range(4)]
    path.write_text("campaign_id,campaign_type,account_id,stream_id\n" + "".join(rows))
    settings = OURS
    with read_targets(str(path), settings) as plan:
        parts = [cycle_targets(plan, first, processes) for first in range(processes)]
        drawn = [next(parts[number % processes]).campaign_id for number in range(20)]
    assert drawn == ["c0", "c1", "c2", "c3"] * 5
    stem = make_stem(settings)
    shares = [make_targets(settings, stem, first, processes) for first in range(processes)]
    assert [next(shares[number % processes]) for number in range(20)] == list(
        itertools.islice(make_targets(settings, stem), 20)
    )


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [("kept-*2", [1, 3, 4]), ("kept-2*-0000000[1-3]", [4, 5, 6]), ("*", None), ("kept-*-0*", None)],
)
def test_protected(rule: str, numbers: list[int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up campaigns that a rule protects are passed over; where it protects all of them, that is refused."""
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0x22222222 << 96))  # no part of it decides
    (tmp_path / "protect.txt").write_text(f"{rule}\n")
    settings = Settings(host=HOST, account_id="a", stream_id="s", protect=(str(tmp_path / "protect.txt"),))
    if numbers is None:
        with pytest.raises(SettingsError, match=r"^protect: made-up campaigns are protected by .*; give another id"):
            make_stem(settings, "kept-")
    else:
        made = make_targets(settings, make_stem(settings, "kept-"))
        assert [each.line for each in itertools.islice(made, 3)] == numbers


@pytest.mark.parametrize(
    ("planned", "text"),
    [
        (None, "2 of l.csv, in its order, again and again"),
        (3, "2 of l.csv, in its order, again and again"),
        (2, "2 of l.csv, in its order, each once"),
        (1, "the first 1 of the 2 of l.csv, in its order, each once"),
    ],
)
def test_described(planned: int | None, text: str, tmp_path: Path) -> None:
    """The plan says which campaigns of a list are sent, how often, and which are not used."""
    path, settings = tmp_path / "list.csv", Settings(host=HOST)
    path.write_text("campaign_id,type,account_id,stream_id\nc1,sms,a,s\nc2,sms,a,s\n,sms,a,s\n")
    with read_targets(str(path), settings) as plan:
        told = describe_targets(plan, settings, "l.csv", planned)
    assert told.startswith(f"{text}; not used: 1 invalid; first {path} line 4: ")
    assert describe_targets(None, settings, "mine-", planned) == "made up: voice campaigns mine-..."


def test_list_of_nothing(tmp_path: Path) -> None:
    """A list without a campaign that can be sent is refused."""
    path = tmp_path / "list.csv"
    path.write_text("campaign_id\n\n")
    with (
        pytest.raises(InputError, match=r"list\.csv: holds no campaign that can be sent; nothing was sent"),
        read_targets(str(path), Settings(host=HOST)),
    ):
        pass


def test_list_that_says_too_little(tmp_path: Path) -> None:
    """For an unusable list, the first row is named with the reason."""
    path = tmp_path / "list.txt"
    path.write_text("c1\nc2\n")
    why = r"list\.txt: holds no campaign that can be sent \(2 invalid; first \S*list\.txt line 1: .*type.*\); nothing"
    with pytest.raises(InputError, match=why), read_targets(str(path), OURS):
        pass


def test_list_that_is_too_long(tmp_path: Path) -> None:
    """The cap that a profile sets for lists holds here too."""
    path = tmp_path / "list.txt"
    path.write_text("c1\nc2\nc3\n")
    settings = Settings(host=HOST, type=CampaignType.SMS, account_id="a", stream_id="s", max_campaigns=2)
    with pytest.raises(SettingsError, match="max_campaigns 2: the list has 3"), read_targets(str(path), settings):
        pass


def test_made_up() -> None:
    """Made-up campaigns have ids that tell what they are, each another one, in each run others."""
    settings = Settings(host=HOST, account_id="a", stream_id="s", iid="app", type=CampaignType.SMS)
    one, other = (list(itertools.islice(choose_targets(None, settings)(0, 1), 1000)) for _ in range(2))
    ids = [campaign.campaign_id for campaign in one + other]
    assert len(set(ids)) == 2000
    assert all(each.startswith(PREFIX) for each in ids)
    assert {campaign.fault for campaign in one} == {None}
    assert {campaign[1:5] for campaign in one} == {(CampaignType.SMS, "a", "s", "app")}
    named = choose_targets(None, OURS, "x~")
    assert next(named(0, 1)).campaign_id.startswith("x~")
    odd = choose_targets(None, Settings(host=HOST, account_id="a", stream_id="s", any_id=True), "x:")
    assert next(odd(0, 1)).campaign_id.startswith("x:")


@pytest.mark.parametrize(
    ("given", "prefix", "why"),
    [
        ({"stream_id": "s"}, "p", "account_id: not given; made-up campaigns need one, or give INPUT"),
        ({"account_id": "a"}, "p", "stream_id: not given"),
        ({"account_id": "a b", "stream_id": "s"}, "p", r"^account_id: 'a b' holds U\+0020 SPACE"),
        ({"account_id": "a", "stream_id": "s"}, "\n", r"id_prefix, .*U\+000A CONTROL CHARACTER"),
    ],
)
def test_made_up_of_nothing(given: dict[str, str], prefix: str, why: str) -> None:
    """Without an account and a stream there is nothing to make campaigns up for; what cannot be sent is refused."""
    with pytest.raises(SettingsError, match=why):
        choose_targets(None, Settings(host=HOST, **given), prefix)
