"""Answers, lists and names of every kind keep what is promised, each with little work; a benchmark tries many more."""

from types import ModuleType

import pytest

from tests.processes import ROOT

CASES = 2_000


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the benchmark as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import fuzz

    return fuzz


@pytest.mark.parametrize("kind", ["answers", "lists", "names"])
def test_no_case_breaks_a_promise(fuzz: ModuleType, kind: str) -> None:
    """No case raises anything, claims what is not proven, loses a row, or holds the processor for a quarter second."""
    assert [fault for _, fault in fuzz.find_faults(kind, range(CASES)) if fault] == []


def test_a_broken_promise_is_found(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any failure is reported with the number of its case, and a slow case is a failure."""
    monkeypatch.setattr(fuzz, "fold", lambda text: text + "x")
    (fault,) = {fault.split(" at ")[0] for _, fault in fuzz.find_faults("names", range(7, 8))}
    assert fault == "names 7: AssertionError"
    monkeypatch.setattr(fuzz, "MOST_S", -1.0)
    (fault,) = [fault for _, fault in fuzz.find_faults("answers", range(8, 9))]
    assert fault.startswith("answers 8: SlowError at ")
