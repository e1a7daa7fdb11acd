"""`bulkstop simulate` for a user."""

import signal
import socket
import stat
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import TOKEN, bulkstop, ended, simulator, started

pytestmark = pytest.mark.real


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_address_first(signum: signal.Signals, tmp_path: Path) -> None:
    """The first line of standard output is its address, where it answers; a signal ends it with exit 0."""
    process = started("simulate", cwd=tmp_path)
    assert process.stdout is not None
    host, _, port = process.stdout.readline().strip().removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.1 404")
    process.send_signal(signum)
    run = ended(process)
    assert (run.code, run.out) == (0, "")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--fail", "150%"], "'--fail'"),
        (["--fail", "often"], "'--fail'"),
        (["--quota", "60"], "'--quota'"),
        (["--latency", "-1"], "'--latency'"),
        (["--retry-after", "soon"], "'--retry-after'"),
        (["--port", "70000"], "port is 70000"),
        (["--second-stop", "shrug"], "'--second-stop'"),
        (["--require-jti"], "need client_secret"),
        (["--log", "no/such/folder.jsonl"], "no/such/folder.jsonl"),
        (["--app", "cs-1"], "cs-1:secret.key"),
        (["--app", "cs-1:none.key"], "none.key: No such file"),
        (["--app", "cs-1:empty.key"], "empty.key is empty"),
        (["--slow", "5s"], "account-01:2s"),
        (["--running", "3"], "running is 3"),
        (["--bind", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_refusals(args: list[str], told: str, tmp_path: Path) -> None:
    """A wrong option is exit 2 and one line that names it."""
    (tmp_path / "empty.key").touch()
    run = bulkstop("simulate", *args, cwd=tmp_path)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("bulkstop: ")
    assert run.err.count("\n") == 1
    assert told in run.err


def test_port_in_use(tmp_path: Path) -> None:
    """A port in use is exit 2 and one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = bulkstop("simulate", "--port", str(port), cwd=tmp_path)
    assert run.code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in run.err


def test_faults(tmp_path: Path) -> None:
    """Failures and quota are as requested, and the log, which never contains a token, shows every request."""
    ids = "".join(f"cd-{number}\n" for number in range(4))
    args = ("--format", "txt", "--type", "sms", "--account-id", "a", "--stream-id", "st", "--yes", "--attempts", "1")
    with simulator(tmp_path, "--fail", "100%", "--fail-status", "502", "--quota", "3/1s") as sim:
        run = bulkstop("stop", "-", *args, "--host", sim.url, cwd=tmp_path, stdin=ids)
        assert run.code == 1
        statuses = Counter(request["status"] for request in sim.requests())
        assert statuses.keys() == {429, 502}
        assert statuses[502] == 4
        assert TOKEN not in sim.log.read_text()
        assert stat.S_ISREG(sim.log.stat().st_mode)
