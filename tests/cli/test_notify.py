"""`stop` and `hold` notify others how they ended, and otherwise run as without receivers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cli.conftest import Here, MakeList
from tests.processes import Simulated

pytestmark = pytest.mark.real


class _Receiver(BaseHTTPRequestHandler):
    told: list[dict[str, Any] | str]

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer()

    def do_GET(self) -> None:
        self.told.append(self.path)
        self._answer()

    def _answer(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def receiver(here: Here) -> Iterator[list[Any]]:
    """Make all notices arrive here, and return them."""
    _Receiver.told = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    (here.folder / "bulkstop.toml").write_text(
        f'[profile.default]\nnotify = ["{url}/hook"]\non_success = ["{url}/yes"]\non_failure = ["{url}/no"]\n'
    )
    try:
        yield _Receiver.told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def events(told: list[Any]) -> list[str]:
    """Return the events, with the calls of switches by path."""
    return sorted(each if isinstance(each, str) else f"{each['event']} {each['exit_code']}" for each in told)


def test_stop(here: Here, sim: Simulated, make_list: MakeList) -> None:
    """A run sends notices of its start and its end with its counts; a dry run sends none."""
    make_list(3)
    with receiver(here) as told:
        assert here.stop(sim, "--dry-run").code == 0
        assert told == []
        run = here.stop(sim, "--yes")
    assert (run.code, events(told)) == (0, ["/yes", "end 0", "start None"])
    (end,) = (each for each in told if isinstance(each, dict) and each["event"] == "end")
    assert end["counts"] == {"stopped": 3}
    assert end["text"] in run.err


@pytest.mark.parametrize(
    ("words", "code", "told_of"),
    [
        (("--yes", "--max-failures", "1"), 3, ["/no", "end 3", "guard 3", "start None"]),
        (("--expect", "5"), 2, ["/no", "end 2"]),
    ],
)
def test_failure(here: Here, make_list: MakeList, words: tuple[str, ...], code: int, told_of: list[str]) -> None:
    """A guard that ended the run sends a notice, as does a run that could not begin, with its message."""
    make_list(3)
    with receiver(here) as told:
        run = here("stop", "campaigns.csv", "--host", "http://127.0.0.1:9", "--attempts", "1", *words)
    assert (run.code, events(told)) == (code, told_of)


def test_hold(here: Here, sim: Simulated) -> None:
    """A hold sends notices of its start and its end, but not of sightings."""
    words = ("--account-id", "a-of-nobody", "--stream-id", "st-1", "--for", "1s", "--every", "1s", "--yes")
    with receiver(here) as told:
        run = here("hold", "--host", sim.url, "--max-campaigns", "5", *words)
    assert [run.code, *events(told)] == [run.code, f"/{'no' if run.code else 'yes'}", f"end {run.code}", "start None"]
