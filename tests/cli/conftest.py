"""One simulator for all tests of the command line; each test has campaigns of its own."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import Simulated, campaigns, simulator

MakeList = Callable[[int], Path]


@pytest.fixture(scope="package")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Hold a simulator open that answers at once."""
    with simulator(tmp_path_factory.mktemp("simulator")) as found:
        yield found


@pytest.fixture
def make_list(tmp_path: Path) -> MakeList:
    """Write `campaigns.csv` with as many campaigns as asked for, with ids that no other test has."""

    def make(number: int) -> Path:
        return campaigns(tmp_path / "campaigns.csv", [f"cd-{uuid.uuid4()}" for _ in range(number)])

    return make


@pytest.fixture
def three(make_list: MakeList) -> list[str]:
    """Write `campaigns.csv` with three campaigns and give their ids."""
    return [line.split(",")[0] for line in make_list(3).read_text().splitlines()[1:]]
