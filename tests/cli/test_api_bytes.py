"""`--api v1` to the byte: compares each request to an older deployment with the documented paths."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkstop.version import __version__
from tests.cli.conftest import Here
from tests.processes import TOKEN

pytestmark = pytest.mark.real

WHERE = ("--account-id", "a1", "--stream-id", "st-1", "--iid", "app-1", "--type", "sms", "--api", "v1")
STOP = "POST /campaign/api/v1/public/st-1/campaign/cd-1?accountId=a1&campaignType=sms&trigger=stop"
AROUND = "/agentassist/api/v1/public/app-1/campaign"
LIST = f"POST {AROUND}/getAllCampaignDetails"
STATUS = f"POST {AROUND}/cd-1/status?view=status"
GET = f"GET {AROUND}/cd-1"
WHOLE: dict[str, list[str]] = {}
RUNNING = {"status": ["Active", "Preparing"]}


class Recorder:
    """A service on a bare socket that records the bytes of each request, and has one campaign."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.state = "Active"

    def serve(self) -> None:
        """Accept connections until the socket is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _answer_all(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            head = b""
            while line := file.readline():
                head += line
                if line == b"\r\n":
                    length = re.search(rb"(?i)content-length: *(\d+)", head)
                    self.requests.append(head + file.read(int(length[1]) if length else 0))
                    body = json.dumps(self._answer(head)).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    head = b""

    def _answer(self, head: bytes) -> object:
        row = {"id": "cd-1", "name": "One", "status": self.state, "priority": "5"}
        if b"trigger=stop" in head:
            self.state = "Stopped"
            return {"status": "Stopped", "message": "Campaign Stopped"}
        if b"getAll" in head:
            return {"status": "success", "data": {"results": [row], "hasMore": False, "totalResults": 1}}
        return {"status": "success", "data": row}

    def take(self) -> list[bytes]:
        """Return the requests since the last call."""
        taken, self.requests = self.requests, []
        return taken


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Run a recorder."""
    service = Recorder()
    thread = threading.Thread(target=service.serve)
    thread.start()
    try:
        yield service
    finally:
        service.close()
        thread.join()


def write_request(recorder: Recorder, line: str, body: str = "{}") -> bytes:
    """Write a request to the byte."""
    length = "" if line.startswith("GET ") else f"Content-Length: {len(body)}\r\n"
    ours = f"User-Agent: bulkstop/{__version__}\r\nauth: {TOKEN}\r\naccountid: a1\r\niid: app-1\r\n"
    rest = f"Content-Type: application/json\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n{length}"
    return f"{line} HTTP/1.1\r\nHost: {recorder.host}\r\n{ours}{rest}\r\n{body if length else ''}".encode()


def write_list(recorder: Recorder, filters: dict[str, list[str]]) -> bytes:
    """Write the call for the first page of the list."""
    asked = {"limit": 50, "skip": 0, "page": 1, "type": "sms", "sortBy": {"createdAt": "desc"}, "filters": filters}
    return write_request(recorder, LIST, json.dumps(asked, separators=(",", ":")))


def test_requests_of_an_older_deployment(here: Here, recorder: Recorder, tmp_path: Path) -> None:
    """`check`, `discover`, `stop --running` and `verify` send the documented requests of v1 and no others."""
    v1 = ("--host", f"http://{recorder.host}", *WHERE, "--transport", "wire")
    assert here("check", *v1).code == 0
    tried = [write_request(recorder, STATUS), write_request(recorder, GET)]
    assert recorder.take() == [write_list(recorder, RUNNING), *tried]
    assert here("discover", *v1, "-o", "list.csv").code == 0
    assert recorder.take() == [write_list(recorder, WHOLE)]
    assert here("stop", "--running", *v1, "-o", "r.jsonl", "--yes").code == 0
    assert recorder.take() == [
        write_list(recorder, RUNNING),
        write_list(recorder, WHOLE),
        write_request(recorder, STOP),
    ]
    assert here("verify", "r.jsonl", *v1).code == 0
    assert recorder.take() == [write_list(recorder, WHOLE)]
    assert here("verify", "r.jsonl", *v1, "--singly").code == 0
    assert recorder.take() == [write_request(recorder, STATUS)]
