"""Limiters of independent implementations: nginx's `limit_req` and HAProxy's `http_req_rate`, if installed.

One process of each serves all runs: the port selects the limit and its shape, the account is the key. nginx admits its
first call and `burst` more at once; without `nodelay` it delays the responses of early calls. HAProxy also counts
refused calls, in two periods, and the first of them begins with the account's first call; to begin in another phase, an
account makes one call in advance (`prime`).
"""

import http.client
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import peers
from limiter_lab import Call
from limiter_models import Gcra, Limiter, SlidingCounter

from bulkstop.model import Limit

LOG_S = 10.0
"""Seconds to wait for a line of a gateway's log."""
HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
"""The HAProxy of this machine, or None."""

NGINX_CONFIG = """\
daemon off;
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections 1024; }}
http {{
    log_format calls '$arg_accountId $msec $request_time $status';
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {{
        listen 127.0.0.1:{answers_port};
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
{servers}
}}
"""
NGINX_SERVER = """\
    limit_req_zone $arg_accountId zone=z{port}:1m rate={per_minute}r/m;
    server {{
        listen 127.0.0.1:{port};
        access_log calls.log calls;
        limit_req zone=z{port}{burst};
        limit_req_status {status};
        location / {{ proxy_pass http://127.0.0.1:{answers_port}; }}
    }}
"""
HAPROXY_CONFIG = """\
global
    log stdout format raw local0
    maxconn 1000
defaults
    mode http
    log global
    timeout client 30s
    timeout server 30s
    timeout connect 5s
    log-format "%[var(txn.account)] %[date(0,ms)] 0 %ST"
"""
HAPROXY_SERVER = """
frontend limit{port}
    bind 127.0.0.1:{port}
    http-request set-var(txn.account) url_param(accountId)
    stick-table type string len 64 size 10k expire 600s store http_req_rate({window_ms}ms)
    http-request track-sc0 var(txn.account)
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {calls} }}
    http-request return status 200 content-type application/json string "{answer}"
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The configuration of a gateway for a limit, and the limiter model that counts in the same way."""

    program: str
    status: int
    make_model: Callable[[Limit, float], Limiter]
    burst: int = 0
    nodelay: bool = False
    keeps_phase: bool = False

    def write_burst(self) -> str:
        """Return the burst as an nginx option."""
        return f" burst={self.burst}{' nodelay' * self.nodelay}" if self.burst else ""


def _nginx(status: int, burst: int = 0, *, nodelay: bool = False) -> Shape:
    return Shape("nginx", status, lambda limit, phase: Gcra(limit, burst + 1), burst, nodelay)


def _make_counter(limit: Limit, phase: float) -> Limiter:
    return SlidingCounter(limit, phase, counts_refused=True, rounds_down=True)


SHAPES = {
    "nginx limit_req, 429": _nginx(429),
    "nginx limit_req, 503": _nginx(503),
    "nginx burst=5, 429": _nginx(429, 5),
    "nginx burst=5, 503": _nginx(503, 5),
    "nginx burst=5 nodelay, 429": _nginx(429, 5, nodelay=True),
    "nginx burst=5 nodelay, 503": _nginx(503, 5, nodelay=True),
    "HAProxy http_req_rate": Shape("haproxy", 429, _make_counter, keeps_phase=True),
}


def list_missing() -> list[str]:
    """Return the names of programs that are not installed."""
    return [name for name, binary in (("nginx", peers.BINARY), ("haproxy", HAPROXY)) if binary is None]


class Gateways:
    """The addresses for each shape of each limit, and the calls that arrived there."""

    def __init__(self, ports: Mapping[tuple[str, Limit], int], logs: Mapping[str, Path]) -> None:
        self._ports = ports
        self._logs = logs

    def url(self, name: str, limit: Limit) -> str:
        """Return the host for calls."""
        return f"http://127.0.0.1:{self._ports[name, limit]}"

    def prime(self, name: str, limit: Limit, account: str) -> None:
        """Make one call in advance, which begins the account's first window."""
        connection = http.client.HTTPConnection(urlsplit(self.url(name, limit)).netloc, timeout=30)
        connection.request("POST", f"/?accountId={account}", b"{}")
        connection.getresponse().read()
        connection.close()

    def read_calls(self, name: str, account: str, least: int = 0) -> list[Call]:
        """Return the calls of an account as they arrived, the first at 0.

        Waits for `least` calls, because a gateway writes a line after its response.
        """
        own, until = list[list[str]](), time.monotonic() + LOG_S
        while len(own) < max(1, least) and time.monotonic() < until:
            lines = self._logs[SHAPES[name].program].read_text().splitlines()
            own = [line.split() for line in lines if line.startswith(f"{account} ")]
            time.sleep(0.01)
        unit_s = 1.0 if SHAPES[name].program == "nginx" else 0.001
        arrived = sorted((float(at) * unit_s - float(took), int(status)) for _, at, took, status in own)
        return [Call(at_s - arrived[0][0], status) for at_s, status in arrived]


@contextmanager
def gateways(limits: Sequence[Limit]) -> Iterator[Gateways]:
    """Run the installed gateways, with a port for each shape of each limit, until the block ends."""
    here = [name for name, shape in SHAPES.items() if shape.program not in list_missing()]
    keys = [(name, limit) for name in here for limit in limits]
    answers_port, *own_ports = peers.free_ports(1 + len(keys))
    ports = dict(zip(keys, own_ports, strict=True))
    with tempfile.TemporaryDirectory() as name, _run_nginx(ports, answers_port) as nginx_log:
        haproxy_log = Path(name) / "calls.log"
        with _run_haproxy(ports, haproxy_log):
            yield Gateways(ports, {"nginx": nginx_log, "haproxy": haproxy_log})


@contextmanager
def _run_nginx(ports: Mapping[tuple[str, Limit], int], answers_port: int) -> Iterator[Path]:
    if not any(SHAPES[name].program == "nginx" for name, _ in ports):
        yield Path(os.devnull)
        return
    servers = "".join(
        NGINX_SERVER.format(
            port=port,
            answers_port=answers_port,
            per_minute=round(limit.calls / limit.window_s * 60),
            burst=SHAPES[name].write_burst(),
            status=SHAPES[name].status,
        )
        for (name, limit), port in ports.items()
        if SHAPES[name].program == "nginx"
    )
    config = NGINX_CONFIG.format(answers_port=answers_port, answer=peers.VOICE_ANSWER, servers=servers)
    with peers.running_nginx(config, answers_port) as (_, folder):
        yield folder / "calls.log"


@contextmanager
def _run_haproxy(ports: Mapping[tuple[str, Limit], int], log: Path) -> Iterator[None]:
    own = {limit: port for (name, limit), port in ports.items() if SHAPES[name].program == "haproxy"}
    if HAPROXY is None or not own:
        yield
        return
    answer = peers.VOICE_ANSWER.replace('"', '\\"')
    servers = [
        HAPROXY_SERVER.format(port=port, calls=limit.calls, window_ms=round(limit.window_s * 1000), answer=answer)
        for limit, port in own.items()
    ]
    config = log.with_name("haproxy.cfg")
    config.write_text(HAPROXY_CONFIG + "".join(servers))
    with log.open("wb") as out, peers.running([HAPROXY, "-f", str(config)], min(own.values()), stdout=out):
        yield
