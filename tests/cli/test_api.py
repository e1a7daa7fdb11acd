"""`--api v1`: discover, stop and verify work with an older deployment that has only the documented paths."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Here
from tests.processes import results, simulator

pytestmark = pytest.mark.real

STOP = "POST /campaign/api/v1/public/st-1/campaign/{}?accountId=a1&campaignType={}&trigger=stop"
LIST = "POST /agentassist/api/v1/public/app-1/campaign/getAllCampaignDetails"
STATUS = "POST /agentassist/api/v1/public/app-1/campaign/{}/status?view=status"
GET = "GET /agentassist/api/v1/public/app-1/campaign/{}"
WHERE = ("--account-id", "a1", "--stream-id", "st-1", "--iid", "app-1")
CAMPAIGNS = {"cd-1": "voice", "cd-2": "voice", "cd-3": "sms"}


class Older:
    """A deployment that answers exactly the documented calls of v1."""

    def __init__(self) -> None:
        self.url = ""
        self.states = dict.fromkeys(CAMPAIGNS, "Active")
        self.log: list[str] = []
        self.headers: set[tuple[str | None, str | None]] = set()

    def answer(self, line: str, body: bytes) -> tuple[int, object]:
        """Return the answer to a request line without its version."""
        self.log.append(line)
        if line == LIST:
            asked = json.loads(body)
            wanted = asked["filters"].get("status") or ["Active", "Stopped"]
            rows = [self.row(key) for key, kind in CAMPAIGNS.items() if kind == asked["type"]]
            rows = [row for row in rows if row["status"] in wanted]
            return 200, {"status": "success", "data": {"results": rows, "hasMore": False, "totalResults": len(rows)}}
        for key, kind in CAMPAIGNS.items():
            if line == STOP.format(key, kind):
                self.states[key] = "Stopped"
                return 200, {
                    "status": "Stopped",
                    "message": "Campaign Stopped",
                    "updatedAt": "2025-12-05T12:01:35.312Z",
                }
            if line == STATUS.format(key):
                return 200, {"status": "success", "data": {"id": key, "status": self.states[key], "name": key}}
            if line == GET.format(key):
                return 200, {"status": "success", "data": self.row(key)}
        return 404, {"errors": [{"msg": "Cannot POST"}]}

    def row(self, key: str) -> dict[str, object]:
        """Return a campaign as in a list."""
        schedule = {"isSchedulingEnabled": False, "isRecurrenceEnabled": False}
        name = "_id" if CAMPAIGNS[key] == "voice" else "id"
        return {name: key, "name": f"Campaign {key}", "status": self.states[key], "priority": "5", "schedule": schedule}


@pytest.fixture
def older() -> Iterator[Older]:
    """Run an older deployment."""
    service = Older()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service.headers.add((self.headers["iid"], self.headers["accountid"]))
            status, fields = service.answer(self.requestline.removesuffix(" HTTP/1.1"), body)
            data = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815 - http.server needs this name

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_older_deployment(here: Here, older: Older, tmp_path: Path) -> None:
    """Discovery, stops and verification use only the documented calls, by lists and one by one."""
    v1 = ("--host", older.url, *WHERE, "--api", "v1")
    assert here("discover", *v1, "-o", "list.csv").code == 0
    assert older.log == [LIST, LIST]
    older.log.clear()
    assert here("stop", "list.csv", *v1, "--expect", "3").code == 0
    assert sorted(older.log) == sorted(STOP.format(key, kind) for key, kind in CAMPAIGNS.items())
    assert {line["outcome"] for line in results(tmp_path / "list.csv.results.jsonl")} == {"stopped"}
    older.log.clear()
    assert here("verify", "list.csv.results.jsonl", *v1).code == 0
    assert older.log == [LIST, LIST]
    older.log.clear()
    assert here("verify", "list.csv.results.jsonl", *v1, "--singly").code == 0
    assert sorted(older.log) == [STATUS.format(key) for key in CAMPAIGNS]
    assert older.headers == {("app-1", "a1")}


def test_check_says_which_answers(here: Here, older: Older) -> None:
    """Check finds that this version answers when the paths of the other are set; with its own paths, all answer."""
    run = here("check", "--host", older.url, *WHERE, "--type", "voice")
    assert run.code == 1
    assert run.out.splitlines()[-1].startswith("NOT READY: the API answers as v1: give --api v1; HTTP 404: ")
    older.log.clear()
    run = here("check", "--host", older.url, *WHERE, "--type", "voice", "--api", "v1", "--json")
    told = json.loads(run.out)
    assert (run.code, told["api"], told["answering"]) == (0, "v1", None)
    assert told["answers"] == {"status": "answers", "get": "answers"}
    assert older.log == [LIST, STATUS.format("cd-1"), GET.format("cd-1")]


def test_check_of_the_newer(here: Here, tmp_path: Path) -> None:
    """Check finds a newer deployment too, and tells a wrong path of the user from a wrong version."""
    with simulator(tmp_path, "--campaigns", "20") as sim:
        where = ("--host", sim.url, *WHERE, "--type", "voice")
        assert "the API answers as v2: give --api v2" in here("check", *where, "--api", "v1").out
        told = json.loads(here("check", *where, "--list-path", "/lists/{iid}", "--json").out)
        assert (told["answering"], told["more_paths"]["list"]) == ("v2", "/lists/{iid}")
        assert told["fault"].startswith("the API answers as v2: leave out --list-path; ")


def test_neither_answers(here: Here, older: Older, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no version answers, none is named."""
    monkeypatch.setattr(older, "answer", lambda line, body: (404, {}))
    run = here("check", "--host", older.url, *WHERE, "--type", "voice")
    assert run.code == 1
    assert "give --api" not in run.out


def test_simulated_v1(here: Here, tmp_path: Path) -> None:
    """`simulate --api v1` answers the paths of v1, and no others."""
    with simulator(tmp_path, "--campaigns", "40", "--api", "v1") as sim:
        v1 = ("--host", sim.url, *WHERE, "--api", "v1")
        assert here("discover", *v1, "-o", "list.jsonl").code == 0
        count = str(len((tmp_path / "list.jsonl").read_text().splitlines()))
        assert here("stop", "list.jsonl", *v1, "--expect", count).code == 0
        assert here("verify", "list.jsonl.results.jsonl", *v1).code == 0
        told = json.loads(here("check", *v1, "--json").out)
        assert (told["fault"], told["answers"]) == (None, None)
        assert here("check", *v1).out.count(": not tried, because no campaign runs") == 2
        assert here("discover", "--host", sim.url, *WHERE, "-o", "other.csv").code != 0


def test_no_schedule_path(here: Here, older: Older, tmp_path: Path) -> None:
    """Without a documented or given path, --disable-schedule is refused, and nothing is sent."""
    (tmp_path / "list.csv").write_text("campaign_id,campaign_type\ncd-1,voice\n")
    run = here("stop", "list.csv", "--host", older.url, *WHERE, "--api", "v1", "--disable-schedule", "--yes")
    assert (run.code, older.log) == (2, [])
    assert "--disable-schedule: v1 documents no path for it; give --schedule-path PATH" in run.err
