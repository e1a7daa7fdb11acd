"""A rate limit of an independent implementation: nginx with `limit_req`, for benchmarks and tests.

    with limited(500) as server:        # 500 r/s and no burst: a call sooner than 2 ms after the last one gets 429
        ...                             # post to server.url
        server.lower()                  # from the next call on, the lower limit holds as well
        calls = server.stop()           # what it saw: when, and what it answered

`return` is answered before `limit_req` is applied, so the limited server proxies to a second one of the same nginx,
which returns the documented response. nginx counts in whole milliseconds, and a refused call does not count.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import peers

BINARY = peers.BINARY
FLAG = "lowered"

CONFIG = """\
master_process off;  # a worker of root's nginx is another user, who cannot see the flag
daemon off;
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections 1024; }}
http {{
    log_format calls '$msec $status';
    access_log off;
    merge_slashes off;
    keepalive_requests 100000000;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    limit_req_zone $server_port zone=usual:64k rate={rate_per_s}r/s;
    limit_req_zone $lowered zone=lowered:64k rate={lowered_per_s}r/s;
    upstream answers {{ server 127.0.0.1:{answers_port}; keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        set $lowered '';  # a zone does not look at a call whose key is empty
        if (-f {flag}) {{ set $lowered yes; }}
        location / {{
            access_log calls.log calls buffer=64k;
            limit_req zone=usual{burst};
            limit_req zone=lowered{burst};
            limit_req_status 429;
            proxy_pass http://answers;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
        }}
    }}
    server {{
        listen 127.0.0.1:{answers_port};
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
}}
"""


class Call(NamedTuple):
    """A call in nginx's log: the time at which its response was done, and the status."""

    unix_s: float
    status: int


@dataclass(frozen=True, slots=True)
class Limited:
    """A running nginx with a limit."""

    url: str
    folder: Path
    process: "subprocess.Popen[bytes]"

    def lower(self) -> None:
        """Apply the lower limit as well."""
        self._flag.touch()

    def restore(self) -> None:
        """Apply only the usual limit again."""
        self._flag.unlink()

    def stop(self) -> list[Call]:
        """End nginx, so that its log is complete, and return its calls."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)
        lines = (self.folder / "calls.log").read_text().splitlines()
        return [Call(float(at), int(status)) for at, status in map(str.split, lines)]

    @property
    def _flag(self) -> Path:
        return self.folder / FLAG


@contextmanager
def limited(rate_per_s: int, *, lowered_per_s: int = 1, burst: int = 0) -> Iterator[Limited]:
    """Run nginx with a limit on every path; with `burst`, that many calls may come early and are not delayed."""
    port = peers.free_port()
    config = CONFIG.format(
        rate_per_s=rate_per_s,
        lowered_per_s=lowered_per_s,
        burst=f" burst={burst} nodelay" if burst else "",
        port=port,
        answers_port=peers.free_port(),
        flag=FLAG,
        answer=peers.VOICE_ANSWER,
    )
    with peers.running_nginx(config, port) as (process, folder):
        yield Limited(f"http://127.0.0.1:{port}", folder, process)
