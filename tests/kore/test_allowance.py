"""The remaining calls in headers, in every common form, and in no invalid one."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkstop.kore.allowance import FIELDS_KEPT, VALUE_CHARS, pick_rate_limit, read_allowance
from bulkstop.model import Allowance
from tests.kore.rate_limits import DATE, FORMS, UNIX_S

NAMES = st.sampled_from(sorted({line.partition(":")[0] for lines, _ in FORMS.values() for line in lines}))
TEXTS = (
    st.text(max_size=80)
    | st.text(alphabet='0123456789";=,. rtqw\\-ae', max_size=80)
    | st.sampled_from([line.partition(": ")[2] for lines, _ in FORMS.values() for line in lines])
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(str)
)


def read(*lines: str, date: str | None = DATE, now_s: float = 0.0) -> Allowance | None:
    """Return what header lines mean, on a machine whose clock is at `now_s`."""
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return read_allowance(pick_rate_limit(pairs), date, wall=lambda: datetime.fromtimestamp(now_s, UTC))


@pytest.mark.parametrize("form", FORMS)
def test_form_is_read(form: str) -> None:
    """Each form means what its service means by it, and what makes no sense means nothing."""
    lines, allowance = FORMS[form]
    assert read(*lines) == allowance


def test_time_without_a_date_is_held_against_this_clock() -> None:
    """The service's own clock counts where it tells it, else this machine's."""
    lines = ("X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {UNIX_S + 9}")
    assert read(*lines, now_s=UNIX_S + 5) == Allowance(0, 9.0)
    for date in (None, "soon"):
        assert read(*lines, date=date, now_s=UNIX_S + 5) == Allowance(0, 4.0)


def test_what_is_kept_is_bounded() -> None:
    """Neither many nor long headers are kept, because a cut one could mean something else."""
    many = [
        ("Server", "x"),
        *((f"X-RateLimit-{'a' * (number // 26)}{chr(97 + number % 26)}", "1") for number in range(99)),
    ]
    assert len(pick_rate_limit(many)) == FIELDS_KEPT
    assert pick_rate_limit([("RateLimit-Limit", "1" * (VALUE_CHARS + 1))]) == ()
    assert pick_rate_limit([("RateLimit-Remaining", "3"), ("ratelimit-remaining", "2")]) == (
        ("ratelimit-remaining", "3, 2"),
    )


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=8), st.none() | TEXTS)
def test_no_text_raises(headers: list[tuple[str, str]], date: str | None) -> None:
    """For any text in the headers, there is an allowance of possible numbers, or none."""
    allowance = read_allowance(pick_rate_limit(headers), date)
    if allowance is not None:
        remaining, reset_s, limit, window_s = allowance
        assert remaining is None or 0 <= remaining <= 1e9
        assert reset_s is None or 0 <= reset_s < 1e8
        assert limit is None or 1 <= limit <= 1e9
        assert window_s is None or 0 < window_s < 1e8
        assert remaining is not None or (limit is not None and window_s is not None)
