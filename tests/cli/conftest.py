"""One simulator for all tests of the command line; each test has campaigns of its own."""

import io
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bulkstop.cli import main
from tests.processes import TOKEN, Ended, Simulated, campaigns, checked, simulator

MakeList = Callable[[int], Path]


class Here:
    """Runs the command in this process, in its own folder, which a test with many runs can afford."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, streams: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._streams = folder, patch, streams
        for name in [name for name in os.environ if name.startswith("BULKSTOP_")]:
            patch.delenv(name)
        patch.setenv("BULKSTOP_TOKEN", TOKEN)
        patch.setenv("BULKSTOP_QUOTA", "none")
        patch.chdir(folder)

    def __call__(self, *args: str, stdin: str = "", variables: Mapping[str, str | None] | None = None) -> Ended:
        """Run the command until it exits; a variable with None is removed."""
        for name, value in (variables or {}).items():
            if value is None:
                self._patch.delenv(name, raising=False)
            else:
                self._patch.setenv(name, value)
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._patch.setattr(sys, "argv", ["bulkstop", *args])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return checked(Ended(caught.value.code, *self._streams.readouterr()))

    def stop(self, sim: Simulated, *args: str, **variables: str | None) -> Ended:
        """Stop `campaigns.csv` at the simulator."""
        return self("stop", "campaigns.csv", "--host", sim.url, *args, variables=variables)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run the command in this process, in the folder with the list."""
    return Here(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="package")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    """Run a simulator without latency."""
    with simulator(tmp_path_factory.mktemp("simulator")) as found:
        yield found


@pytest.fixture
def make_list(tmp_path: Path) -> MakeList:
    """Write `campaigns.csv` with `count` campaigns, whose ids no other test has."""

    def make(number: int) -> Path:
        return campaigns(tmp_path / "campaigns.csv", [f"cd-{uuid.uuid4()}" for _ in range(number)])

    return make


@pytest.fixture
def three(make_list: MakeList) -> list[str]:
    """Write `campaigns.csv` with three campaigns and return their ids."""
    return [line.split(",")[0] for line in make_list(3).read_text().splitlines()[1:]]
