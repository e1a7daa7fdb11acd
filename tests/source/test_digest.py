"""An input that was only appended to is the same; any other change is found and named to a thousand rows."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.errors import InputError
from bulkstop.source.digest import EVERY, Digest, Digests

Rows = Sequence[bytes]
A = "a.csv"


def rows(count: int) -> list[bytes]:
    """Make the rows of an input."""
    return [b"row %d\n" % number for number in range(count)]


def read(
    inputs: dict[str, Rows] | Rows, recorded: dict[str, Digest] | None = None, *, first_line: int = 2
) -> dict[str, Digest]:
    """Read inputs as a plan does, row by row, and give what is recorded of them."""
    digests = Digests(recorded)
    named = inputs if isinstance(inputs, dict) else {A: inputs}
    for source, its_rows in named.items():
        for line, row in enumerate(its_rows, start=first_line):
            digests.add(source, line, row)
    return digests.finish()


def refusal(inputs: dict[str, Rows] | Rows, recorded: dict[str, Digest]) -> str:
    """Read changed inputs, and return the error message."""
    with pytest.raises(InputError) as caught:
        read(inputs, recorded)
    reason = str(caught.value)
    assert reason.endswith("(rows may be added at the end), or -o with another file")
    return reason.partition(";")[0]


def test_what_is_recorded() -> None:
    """A digest is the number of rows, the SHA-256 over them, and a mark after every 1,000."""
    all_rows = rows(3_500)
    found = read(all_rows)[A]
    assert found.rows == 3_500
    assert found.sha256 == sha256(b"".join(all_rows)).hexdigest()
    assert [sha256(b"".join(all_rows[:end])).hexdigest()[:16] for end in (1000, 2000, 3000)] == list(found.marks)
    assert read([]) == {}


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2000, 3000, 3500])
@pytest.mark.parametrize("more", [0, 1, 999, 1000, 1500])
def test_added_rows(count: int, more: int) -> None:
    """The same input is the same, and so is one with rows added at its end, over any border of a thousand."""
    recorded = read(rows(count))
    now = read(rows(count + more), recorded)
    assert now == read(rows(count + more))
    assert now[A].rows == count + more


@pytest.mark.parametrize("count", [1, 500, 1000, 2000, 3500])
@pytest.mark.parametrize("more", [0, 700])
def test_a_changed_row(count: int, more: int) -> None:
    """A changed character in any row is found, and located to its thousand rows."""
    recorded = read(rows(count))
    for changed in {0, count // 2, 998, 999, 1000, count - 1} & set(range(count)):
        now = rows(count + more)
        now[changed] += b"!"
        first = changed // EVERY * EVERY
        last = min(first + EVERY, count) - 1
        assert refusal(now, recorded) == f"a.csv: a row of lines {first + 2} to {last + 2} has changed"


@pytest.mark.parametrize("count", [2, 1000, 3500])
def test_removed_rows(count: int) -> None:
    """A removed row is found where the next thousand is full, or by the number of rows."""
    recorded = read(rows(count))
    now = rows(count)
    del now[count // 2]
    assert "has changed" in (reason := refusal(now, recorded)) or reason == (
        f"a.csv: had {count:,} rows when the run began, and has {count - 1:,} now"
    )
    assert (
        refusal(rows(count - 1), recorded) == f"a.csv: had {count:,} rows when the run began, and has {count - 1:,} now"
    )


@pytest.mark.parametrize("count", [2, 1000, 3500])
def test_another_order(count: int) -> None:
    """Two rows that have changed places, neighbours or not, are found."""
    recorded = read(rows(count))
    for one, other in ((0, 1), (0, count - 1), (count - 2, count - 1)):
        now = rows(count)
        now[one], now[other] = now[other], now[one]
        assert "has changed" in refusal(now, recorded)


def test_lines_are_named_as_they_stand() -> None:
    """The named lines are those of the input, with its blank lines and multi-line records."""
    digests = Digests({A: Digest(2, "another")})
    digests.add(A, 17, b"one")
    with pytest.raises(InputError, match=r"^a\.csv: a row of lines 17 to 23 has changed; "):
        digests.add(A, 23, b"two")


class TestInputs:
    """Several inputs."""

    def test_missing_and_renamed(self) -> None:
        """An input that is not given any more, or under another name, is refused by its name."""
        recorded = read({"a.csv": rows(3), "b.csv": rows(4)})
        reason = "b.csv: had 4 rows when the run began, and has 0 now"
        assert refusal({"a.csv": rows(3)}, recorded) == reason
        assert refusal({"a.csv": rows(3), "./b.csv": rows(4)}, recorded) == reason

    def test_another_order(self) -> None:
        """The inputs in another order are refused: which of two duplicates is sent depends on it."""
        recorded = read({"a.csv": rows(3), "b.csv": rows(4)})
        reason = "the inputs are in another order than when the run began: a.csv, b.csv"
        assert refusal({"b.csv": rows(4), "a.csv": rows(3)}, recorded) == reason

    def test_one_more(self) -> None:
        """Another input may be given besides."""
        recorded = read({"a.csv": rows(3), "b.csv": rows(4)})
        now = read({"a.csv": rows(3), "b.csv": rows(5), "c.csv": rows(1)}, recorded)
        assert list(now) == ["a.csv", "b.csv", "c.csv"]

    def test_each_by_itself(self) -> None:
        """The digest of one input does not depend on another."""
        recorded = read({"a.csv": rows(1000), "b.csv": rows(1000)})
        changed = [*rows(999), b"!"]
        assert refusal({"a.csv": rows(1000), "b.csv": changed}, recorded).startswith("b.csv: a row of lines 2 to 1001 ")


class TestRecorded:
    """A recorded digest is read back from a manifest, or refused."""

    @pytest.mark.parametrize("count", [1, 999, 1000, 3500])
    def test_round_trip(self, count: int) -> None:
        """A digest comes back from its fields."""
        (digest,) = read(rows(count)).values()
        given = asdict(digest)
        assert Digest.of(given | {"marks": list(given["marks"])}) == digest

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"rows": 1, "sha256": "a"},
            {"rows": "x", "sha256": "a", "marks": []},
            {"rows": None, "sha256": "a", "marks": []},
            {"rows": float("inf"), "sha256": "a", "marks": []},
            {"rows": 0, "sha256": "a", "marks": []},
            {"rows": -5, "sha256": "a", "marks": []},
            {"rows": 1000, "sha256": "a", "marks": []},
            {"rows": 1, "sha256": "a", "marks": ["b"]},
            {"rows": 1, "sha256": "a", "marks": 5},
            [],
            "text",
            None,
        ],
    )
    def test_garbage(self, given: Any) -> None:
        """An invalid digest is a ValueError, because it would hide changes or fail while planning."""
        with pytest.raises(ValueError, match="no digest of an input"):
            Digest.of(given)


any_rows = st.lists(st.sampled_from([b"a\n", b"b\n", b"\n", b"ab\n"]), min_size=1, max_size=8)


@given(any_rows, any_rows)
def test_any_change(was: list[bytes], now: list[bytes]) -> None:
    """Inputs pass exactly when the old rows are the first of the new ones."""
    assert passes(now, read(was)) is (now[: len(was)] == was)


def passes(now: Iterable[bytes], recorded: dict[str, Digest]) -> bool:
    """Return whether an input passes for what was recorded."""
    try:
        read(list(now), recorded)
    except InputError:
        return False
    return True
