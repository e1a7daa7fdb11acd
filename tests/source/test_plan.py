"""One pass before anything is sent: each campaign once, in order, counted; what an earlier run has ended stays back."""

import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.model import Campaign, CampaignType, Defaults, Order, Outcome, Result, Row
from bulkstop.source import read
from bulkstop.source.digest import Digest
from bulkstop.source.plan import Plan

VOICE, SMS = CampaignType.VOICE, CampaignType.SMS
DEFAULTS = Defaults(VOICE, "acc", "st-1", None)


def campaign(line: int, campaign_id: str | None = None, account_id: str = "acc", **more: object) -> Campaign:
    """Make the campaign of a row."""
    made = Campaign.of_row(campaign_id or f"cd-{line}", VOICE, account_id, "st-1", "st-1", "a.csv", line)
    return made._replace(**more)  # type: ignore[arg-type]


def prioritised(line: int, priority: int | str | None) -> Campaign:
    """Make a campaign with a priority, which is carried along if it cannot be read."""
    if isinstance(priority, str):
        return campaign(line, row={"priority": priority})
    return campaign(line, priority=priority)


def invalid(line: int) -> Result:
    """Make the result of a row that cannot be used."""
    return Result("", None, None, None, Outcome.INVALID, error="no campaign id", source="a.csv", line=line)


def by_line(outcomes: Mapping[int, Outcome]) -> Callable[[Row], Outcome | None]:
    """Know rows by their line, as a result file does."""
    return lambda row: outcomes.get(row.line or 0)


def sent(plan: Plan) -> list[int]:
    """Return the lines that will be sent, account after account."""
    return [each.line for account_id in plan.accounts for each in plan.campaigns(account_id)]


def holding(plan: Plan) -> list[tuple[int | None, Outcome]]:
    """Return the lines that are held back, and why."""
    return [(result.line, result.outcome) for result in plan.held_results()]


class TestFirstRun:
    """A list without a past."""

    def test_counts(self) -> None:
        """Every row is counted, each campaign is sent once, and the others have a result with a reason."""
        rows: Sequence[Row] = [campaign(2), invalid(3), campaign(4, "cd-2"), campaign(5, campaign_type=SMS)]
        with Plan(rows) as plan:
            assert (plan.rows, plan.to_send, plan.listed, plan.held_invalid) == (4, 2, 2, 1)
            assert plan.types == {VOICE: 1, SMS: 1}
            assert plan.held == {Outcome.INVALID: 1, Outcome.DUPLICATE: 1}
            assert plan.settled == {}
            assert sent(plan) == [2, 5]
            assert holding(plan) == [(3, Outcome.INVALID), (4, Outcome.DUPLICATE)]
            assert [result.error for result in plan.held_results()][1] == "the same campaign is at a.csv line 2"

    def test_what_makes_a_duplicate(self) -> None:
        """Id, type, account and stream together name a campaign; no three of them are enough."""
        others = [{"campaign_id": "x"}, {"campaign_type": SMS}, {"account_id": "x"}, {"stream_id": "x"}]
        rows = [campaign(2, "cd"), *(campaign(line, "cd")._replace(**more) for line, more in enumerate(others, 3))]  # type: ignore[arg-type]
        with Plan([*rows, campaign(9, "cd", iid="x", source="b.csv")]) as plan:
            assert plan.to_send == 5
            assert holding(plan) == [(9, Outcome.DUPLICATE)]

    def test_campaigns_come_back_whole(self) -> None:
        """Stored campaigns are read back unchanged in each field."""
        rows = [
            campaign(2, "é/ \N{GRINNING FACE}", name="n", priority=-3, row={"a": [1, {"b": None}], "c": "\u2028"}),
            campaign(3, row=None, priority=2**80 // 2**20),
        ]
        with Plan(rows) as plan:
            assert list(plan.campaigns("acc")) == rows

    def test_odd_columns_come_back_whole(self) -> None:
        """Carried values are read back unchanged, even unusual JSON, and do not prevent sending."""
        rows = [campaign(7, row={"a": "\ud800", "b": 2**70, "c": [1.5, True, None]}), campaign(8, name="\udfff")]
        held = Result("", None, None, None, Outcome.INVALID, source="a.csv", line=9, row={"a": -(2**64)})
        with Plan([*rows, held]) as plan:
            assert list(plan.campaigns("acc")) == rows
            assert list(plan.held_results()) == [held]

    def test_columns_that_cannot_be_written(self) -> None:
        """A value that no line can hold ends the planning, with its row; nothing was sent."""
        endless: dict[str, object] = {}
        endless["a"] = endless
        with pytest.raises(InputError, match=r"^a\.csv line 7: its other columns cannot be written"):
            Plan([campaign(7, row=endless)])


class TestSettled:
    """Rows that have ended in an earlier run."""

    def test_held_back(self) -> None:
        """They are counted by how they ended, and neither sent nor written once more."""
        rows: Sequence[Row] = [campaign(2), campaign(3), invalid(4), campaign(5, "cd-2"), campaign(6)]
        ends = {2: Outcome.STOPPED, 4: Outcome.INVALID, 5: Outcome.DUPLICATE, 6: Outcome.REJECTED}
        with Plan(rows, settled=by_line(ends)) as plan:
            assert plan.settled == Counter(ends.values())
            assert (sent(plan), holding(plan)) == ([3], [])
            assert (plan.rows, plan.to_send, plan.types) == (5, 1, {VOICE: 1})
            assert plan.held_invalid == 0

    def test_all_ended(self) -> None:
        """A list of which every row has ended leaves nothing to send, and no account to send it to."""
        with Plan([campaign(2), campaign(3)], settled=lambda row: Outcome.STOPPED) as plan:
            assert (plan.to_send, plan.accounts, plan.settled) == (0, {}, {Outcome.STOPPED: 2})

    def test_listed_counts_the_whole_list(self) -> None:
        """The number of the list is the same in every run: what is to be sent and what was, not what never is."""
        rows: Sequence[Row] = [campaign(2), campaign(3), invalid(4), campaign(5, "cd-2"), campaign(6)]
        ends: dict[int, Outcome] = {}
        listed = []
        for line, outcome in (
            (0, None),
            (4, Outcome.INVALID),
            (5, Outcome.DUPLICATE),
            (2, Outcome.STOPPED),
            (6, Outcome.TIMEOUT),
        ):
            if outcome is not None:
                ends[line] = outcome
            with Plan(rows, settled=by_line(ends)) as plan:
                listed.append(plan.listed)
        assert listed == [3] * 5

    def test_a_later_row_of_the_same_campaign(self) -> None:
        """An added row that names a campaign which has been sent is a duplicate of it: it is not sent again."""
        with Plan([campaign(2), campaign(3, "cd-2")], settled=by_line({2: Outcome.STOPPED})) as plan:
            assert (plan.to_send, holding(plan)) == (0, [(3, Outcome.DUPLICATE)])

    def test_priority(self) -> None:
        """The order by priority is the same for those that are left, whichever have ended, each account by itself.

        None is the vendor's default, 5; one that cannot be read is the last in either order; ties stay as they are.
        """
        places: list[tuple[int, int | str | None]] = [(2, 1), (3, "high"), (4, None), (5, 3), (6, 1), (7, 5), (8, 6)]
        rows = [prioritised(line, priority) for line, priority in places]
        others = [campaign(line, account_id="b", priority=p) for line, p in ((9, 2), (10, 1))]
        orders = {
            Order.PRIORITY: [8, 4, 7, 5, 2, 6, 3, 9, 10],
            Order.PRIORITY_ASCENDING: [2, 6, 5, 4, 7, 8, 3, 10, 9],
            Order.INPUT: [2, 3, 4, 5, 6, 7, 8, 9, 10],
        }
        for order, lines in orders.items():
            with Plan([*rows, *others], order=order) as plan:
                assert sent(plan) == lines
                assert (plan.looks.odd_priorities.count, plan.looks.odd_priorities.first) == (
                    1,
                    ["a.csv line 3: 'high'"],
                )
            for ended in range(2, 11):
                with Plan([*rows, *others], order=order, settled=by_line({ended: Outcome.STOPPED})) as plan:
                    assert sent(plan) == [line for line in lines if line != ended]

    def test_huge_priorities(self) -> None:
        """No number is so large that it goes behind one that cannot be read."""
        rows = [prioritised(2, "high"), prioritised(3, -(2**63)), prioritised(4, 2**63)]
        with Plan(rows, order=Order.PRIORITY) as plan:
            assert sent(plan) == [4, 3, 2]
        with Plan(rows, order=Order.PRIORITY_ASCENDING) as plan:
            assert sent(plan) == [3, 4, 2]

    @given(
        st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.none() | st.integers(-2, 2)), max_size=12),
        st.dictionaries(st.integers(2, 14), st.sampled_from([Outcome.STOPPED, Outcome.TIMEOUT, Outcome.NOT_FOUND])),
        st.sampled_from(Order),
    )
    def test_every_row_once(
        self, listed: list[tuple[str, str, int | None]], ends: dict[int, Outcome], order: Order
    ) -> None:
        """Each row is either sent, held or counted as ended, and none is lost."""
        rows = [campaign(line, name, account, priority=place) for line, (name, account, place) in enumerate(listed, 2)]
        with Plan(rows, order=order, settled=by_line(ends)) as plan:
            ended = {row.line for row in rows} & ends.keys()
            lines_seen = [*sent(plan), *(line for line, _ in holding(plan) if line)]
            assert sorted([*lines_seen, *ended]) == [row.line for row in rows]
            assert plan.rows == plan.to_send + sum(plan.held.values()) + sum(plan.settled.values())
            assert sum(plan.types.values()) == plan.to_send == sum(plan.accounts.values())
            done = {(row.campaign_id, row.account_id) for row in rows if row.line in {*sent(plan), *ended}}
            assert done == {(row.campaign_id, row.account_id) for row in rows}, "each campaign, in one run or another"


class TestRecorded:
    """The recorded digests of inputs."""

    @staticmethod
    def digests(rows: Sequence[Row]) -> dict[str, Digest]:
        """Plan a list and give what is recorded of it."""
        with Plan(rows) as plan:
            return plan.digests

    @pytest.mark.parametrize(
        "change",
        [
            {"campaign_id": "cd-x"},
            {"campaign_type": SMS},
            {"account_id": "b"},
            {"stream_id": "st-2"},
            {"iid": "st-2"},
            {"priority": 1},
            {"name": "x"},
            {"row": {"note": "x"}},
            {"line": 5},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_any_column(self, change: dict[str, object]) -> None:
        """A change in any column of any row is found, also of one that was never sent, and of one carried along."""
        rows = [campaign(2), campaign(3), campaign(4, "cd-2")]
        recorded = self.digests(rows)
        for place in range(3):
            now = [*rows]
            now[place] = now[place]._replace(**change)  # type: ignore[arg-type]
            with pytest.raises(InputError, match=r"^a\.csv: a row of lines \d to \d has changed"):
                Plan(now, recorded=recorded)

    def test_an_unusable_row(self) -> None:
        """A change in an unusable row is found; a changed wording of the reason is ignored."""
        row = Result("..", None, None, None, Outcome.INVALID, error="why", source="a.csv", line=2, row={"n": "1"})
        recorded = self.digests([row])
        Plan([replace(row, error="worded anew")], recorded=recorded).close()
        for now in (
            replace(row, campaign_id="."),
            replace(row, row={"n": "2"}),
            campaign(2, ".."),
        ):
            with pytest.raises(InputError, match=r"^a\.csv: a row of lines 2 to 2 has changed"):
                Plan([now], recorded=recorded)
            found = Plan([now], recorded=recorded, find_unusable=lambda _: row)
            found.close()
            assert found.digests == self.digests([now])

    @pytest.mark.parametrize(
        ("was", "now", "passes"),
        [
            ("id\na\nb\n", "id\r\na\r\nb\r\n", True),
            ("id\na\nb", "id\na\nb\n", True),
            ("id\na\nb\n", "id\na\nb\nc\n", True),
            ("id,note\na,x\nb,y\n", "id,note\na,x\nb,z\n", False),
            ("id,note\na,x\nb,y\n", "id,other\na,x\nb,y\n", False),
            ("id\na\nb\n", "id\nb\na\n", False),
            ("id\na\nb\n", "id\n\na\nb\n", False),
            ("id\na\nb\n", "id\nb\n", False),
            ("id\na\n..\n", "id\na\n.\n", False),  # unless an earlier run tells that it was never sent
            ("id\na\na\n", "id\na\nb\n", False),
        ],
    )
    def test_files(self, was: str, now: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file whose rows are the same is the same, however its lines end; every other change of it is found."""
        monkeypatch.chdir(tmp_path)
        path = Path("a.csv")
        path.write_bytes(was.encode())
        recorded = self.digests(list(read(["a.csv"], defaults=DEFAULTS)))
        path.write_bytes(now.encode())
        rows = list(read(["a.csv"], defaults=DEFAULTS))
        if passes:
            Plan(rows, recorded=recorded).close()
        else:
            with pytest.raises(InputError, match=r"^a\.csv: (a row of lines|had 2 rows)"):
                Plan(rows, recorded=recorded)

    def test_a_refused_list_leaves_nothing_open(self) -> None:
        """When a list is refused its temporary files are freed at once."""
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(InputError):
            Plan([campaign(2)], recorded={"a.csv": Digest(1, "another")})
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_duplicate_of_nothing_is_sent() -> None:
    """A row that an earlier run found to be a duplicate is sent when the original is gone."""
    with Plan([campaign(1, "cd-1"), campaign(2, "cd-1")], settled=by_line({1: Outcome.DUPLICATE})) as plan:
        assert sent(plan) == [1]
        assert holding(plan) == [(2, Outcome.DUPLICATE)]


def test_a_mapping_is_carried_along() -> None:
    """For any mapping type of a row, its names and values are kept."""
    carried = campaign(1, row=MappingProxyType({"note": "x"}))
    with Plan([carried]) as plan:
        assert [each.row for each in plan.campaigns("acc")] == [{"note": "x"}]


def test_many_accounts_read_little_ahead() -> None:
    """A thousand accounts hold no more of the list in memory than their lines and a small block each."""
    rows = [campaign(line, f"cd-{line}", f"acc-{line % 1_000}") for line in range(1, 20_001)]
    with Plan(rows) as plan:
        tracemalloc.start()
        drawn = [plan.campaigns(account_id) for account_id in plan.accounts]
        assert all(next(campaigns) for campaigns in drawn)
        assert tracemalloc.get_traced_memory()[0] < 24 * 2**20
        tracemalloc.stop()
