"""The load generators that are compared: the command of each, and the rate that it reports."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import peers
from bare_loop import ACCOUNT, HEADERS, STREAM, TARGET
from watched import Ran

from bulkstop.version import __version__

LOCUST = os.path.abspath(shutil.which(os.environ.get("LOCUST") or "locust") or "locust")  # noqa: PTH100 - nothing is followed
IDS = 10_000
CURL_A_SECOND = 2000
"""Number of URLs for curl for each second, because curl has no overall time limit."""
HERE = Path(__file__).resolve().parent

WRK_SCRIPT = """\
wrk.method = "POST"
wrk.body = "{}"
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
    io.write(string.format('\\n{"requests": %d, "rate": %f}\\n',
        summary.requests, summary.requests / summary.duration * 1e6))
end
"""

LOCUST_FILE = """\
from itertools import cycle
from pathlib import Path
from locust import FastHttpUser, task

IDS = cycle(Path("ids.txt").read_text().splitlines())

class User(FastHttpUser):
    @task
    def stop(self):
        self.client.post("{target}".format(next(IDS)), json={{}}, headers={headers}, name="stop")
"""


K6_SCRIPT = """\
import http from 'k6/http';

export default function () {{
    http.post(__ENV.URL, '{{}}', {{ headers: {headers} }});
}}

export function handleSummary(data) {{
    return {{ stdout: JSON.stringify({{ rate: data.metrics.http_reqs.values.rate }}) + '\\n' }};
}}
"""

BUSY = ("--max-late", "1s")
"""Options that tolerate a busy generator, because this benchmark measures how busy it can be."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job for a generator: its duration and connections; its files are in `folder`."""

    host: str
    folder: Path
    connections: int
    seconds: float
    requests: int | None = None
    """The number of requests instead of the duration, for generators that support it."""

    @property
    def url(self) -> str:
        """A single URL, for generators that cannot use another for each request."""
        return self.host + TARGET.format("cd-0000000-5f0a-4b1e-9c3d-2a7e8f6b1c0d")

    @property
    def whole_s(self) -> int:
        """The duration in whole seconds."""
        return max(1, round(self.seconds))


@dataclass(frozen=True, slots=True)
class Generator:
    """A load generator: its requirements, its command, and the requests per second that it reports."""

    name: str
    command: Callable[[Job], list[str]]
    rate: Callable[[Ran, int], float]
    """Finds the rate in the output; the second argument is the server's count."""
    needs: str | None = None
    has_lines: bool = False
    """Whether it writes a line for each request."""

    @property
    def is_ours(self) -> bool:
        """Whether it is bulkstop, which reports its number of requests."""
        return self.name.startswith("bulkstop")

    @property
    def is_there(self) -> bool:
        """Whether it is installed."""
        return self.needs is None or shutil.which(self.needs) is not None


def write_files(folder: Path) -> None:
    """Write the files of the generators: ids, a script, a locustfile, and the settings of bulkstop."""
    ids = [f"cd-{n:07x}-5f0a-4b1e-9c3d-2a7e8f6b1c0d" for n in range(IDS)]
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    rows = [f"{each},voice,{ACCOUNT},{STREAM}" for each in ids]
    (folder / "ids.csv").write_text("campaign_id,campaign_type,account_id,stream_id\n" + "\n".join(rows) + "\n")
    (folder / "post.lua").write_text(WRK_SCRIPT + "".join(f'wrk.headers["{k}"] = "{v}"\n' for k, v in HEADERS.items()))
    (folder / "k6.js").write_text(K6_SCRIPT.format(headers=json.dumps({"Content-Type": "application/json", **HEADERS})))
    (folder / "body.json").write_text("{}")
    (folder / "locustfile.py").write_text(LOCUST_FILE.format(target=TARGET, headers=HEADERS))


LINES = ("--results", "lines.jsonl", "--overwrite")


def load(host: str, *options: str, lines: bool = True) -> list[str]:
    """Return the command that runs bulkstop over the ids with all outputs: outcomes, histogram, a line each."""
    told = (*(LINES if lines else ()), "--json", "--quiet")
    return [sys.executable, "-m", "bulkstop", "load", "ids.csv", "--host", host, *told, *options]


def bulkstop(*options: str, lines: bool = True) -> Callable[[Job], list[str]]:
    """Return a function that makes the command of bulkstop with these options."""

    def command(job: Job) -> list[str]:
        closed = ("--closed", "--concurrency", str(job.connections), "--duration", f"{job.seconds}s", *BUSY)
        return load(job.host, *closed, *options, lines=lines)

    return command


def _headers(flag: str) -> list[str]:
    fields = {"Content-Type": "application/json", **HEADERS}
    return [word for name, value in fields.items() for word in (flag, f"{name}: {value}")]


def _wrk(job: Job) -> list[str]:
    threads = min(job.connections, max(1, (os.cpu_count() or 1) // 2))
    return ["wrk", f"-t{threads}", f"-c{job.connections}", f"-d{job.whole_s}s", "-s", "post.lua", job.url]


def _hey(job: Job) -> list[str]:
    return [
        "hey",
        *(("-n", f"{job.requests}") if job.requests else ("-z", f"{job.seconds}s")),
        "-c",
        str(job.connections),
        "-m",
        "POST",
        "-d",
        "{}",
        *_headers("-H"),
        job.url,
    ]


def _curl(job: Job) -> list[str]:
    url = job.host + TARGET.format(f"cd-[1-{round(CURL_A_SECOND * job.seconds)}]")
    parallel = ["--parallel", "--parallel-max", str(job.connections)]
    return [
        "curl",
        "--silent",
        "--fail",
        *parallel,
        "--output",
        "/dev/null",
        "--data",
        "{}",
        *_headers("--header"),
        url,
    ]


def _oha(job: Job) -> list[str]:
    asked = ["-z", f"{job.seconds}s", "-c", str(job.connections), "-m", "POST", "-d", "{}"]
    return ["oha", "--no-tui", *asked, *_headers("-H"), job.url]


def _vegeta(job: Job) -> list[str]:
    asked = ["-rate=0", f"-duration={job.seconds}s", f"-workers={job.connections}", f"-max-workers={job.connections}"]
    attack = shlex.join(["vegeta", "attack", *asked, "-body=body.json", *_headers("-header")])
    return ["sh", "-c", f"echo {shlex.quote(f'POST {job.url}')} | {attack} | vegeta report -type=json"]


def _k6(job: Job) -> list[str]:
    asked = ["--vus", str(job.connections), "--duration", f"{job.seconds}s", "--env", f"URL={job.url}"]
    return ["k6", "run", "--quiet", *asked, "k6.js"]


def _bare_loop(job: Job) -> list[str]:
    script = str(HERE / "bare_loop.py")
    return [sys.executable, script, job.host, "ids.txt", str(job.connections), str(job.seconds)]


def _locust(job: Job) -> list[str]:
    users = ["--users", str(job.connections), "--spawn-rate", str(job.connections)]
    quiet = ["--headless", "--only-summary", "--json", "--loglevel", "ERROR", "--exit-code-on-error", "1"]
    return [LOCUST, "-f", "locustfile.py", "--host", job.host, *users, "--run-time", f"{job.whole_s}s", *quiet]


def _said(ran: Ran, counted: int) -> float:
    """Return the rate from the JSON object in the last line."""
    return float(json.loads(ran.out.splitlines()[-1])["rate"])


def _text_said(ran: Ran, counted: int) -> float:
    found = re.search(r"Requests/sec:\s+([\d.]+)", ran.out)
    return float(found[1]) if found else 0.0


def _curl_said(ran: Ran, counted: int) -> float:
    """Return the rate of curl from its count and time, because curl does not report it."""
    return counted / ran.elapsed_s


def _locust_said(ran: Ran, counted: int) -> float:
    """Return the rate of locust: its count by the time between its first and last request."""
    stats = json.loads(ran.out)[0]
    return float(stats["num_requests"] / (stats["last_request_timestamp"] - stats["start_time"]))


BARE, WRK, HEY = "bare aiohttp loop", "wrk", "hey"
WIRE, AIOHTTP = "bulkstop, wire", "bulkstop, aiohttp"
NO_LINES, TWO = "bulkstop, wire, no lines", "bulkstop, wire, 2 processes"
GENERATORS = (
    Generator(WIRE, bulkstop("--transport", "wire"), _said, has_lines=True),
    Generator(NO_LINES, bulkstop("--transport", "wire", lines=False), _said),
    Generator(TWO, bulkstop("--transport", "wire", "--processes", "2"), _said, has_lines=True),
    Generator(AIOHTTP, bulkstop("--transport", "aiohttp"), _said, has_lines=True),
    Generator(BARE, _bare_loop, _said),
    Generator(WRK, _wrk, _said, needs="wrk"),
    Generator(HEY, _hey, _text_said, needs="hey"),
    Generator("curl --parallel", _curl, _curl_said, needs="curl"),
    Generator("oha", _oha, _text_said, needs="oha"),
    Generator("vegeta", _vegeta, _said, needs="vegeta"),
    Generator("k6", _k6, _said, needs="k6"),
    Generator("Locust FastHttpUser", _locust, _locust_said, needs=LOCUST),
)
"""All generators, those of bulkstop first."""


def versions() -> dict[str, str]:
    """Return the versions of all installed tools."""
    asked = {
        "nginx": _said_by(r"nginx/(\S+)", peers.BINARY, "-v"),
        "wrk": _said_by(r"wrk (\S+)", "wrk", "-v"),
        "hey": _said_by(r"(\S+)", "dpkg-query", "-W", "-f", "${Version}", "hey"),  # it does not report its version
        "curl": _said_by(r"curl (\S+)", "curl", "--version"),
        "oha": _said_by(r"oha (\S+)", "oha", "--version"),
        "vegeta": _said_by(r"Version: (\S+)", "vegeta", "-version"),
        "k6": _said_by(r"k6 (\S+)", "k6", "version"),
        "Locust": _said_by(r"locust (\S+)", LOCUST, "--version"),
    }
    libraries = {name: version(name) for name in ("aiohttp", "httptools", "uvloop")}
    ours = {"bulkstop": __version__, _interpreter(): platform.python_version()}
    return ours | libraries | {name: said for name, said in asked.items() if said}


def _interpreter() -> str:
    """Return the builder of the interpreter, on which its speed depends more than on its version."""
    return "the system's Python" if sys.base_prefix == "/usr" else "Python"


def _said_by(pattern: str, *command: str | None) -> str | None:
    """Run a command if it is installed, and find a pattern in its output."""
    if command[0] is None or shutil.which(command[0]) is None:
        return None
    done = subprocess.run([word or "" for word in command], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else None
