"""Every command that is printed is pasted into a shell as it stands, and works; an inventory finds those that are new.

The folder, the profile and the lists have names that need quotes. What a line of a message says before its command is
not pasted; nothing is added.
"""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bulkstop.cli import COMMANDS
from bulkstop.model import Limit
from bulkstop.report.load.limit import QuotaTarget, describe_paste, format_profile
from bulkstop.settings.profiles import read_profile
from bulkstop.text import write_install
from tests.processes import (
    ROOT,
    TOKEN,
    WAIT_S,
    Ended,
    bulkstop,
    campaigns,
    checked,
    environment,
    simulator,
    with_command,
)
from tests.servers import authority

PACKAGE = ROOT / "bulkstop"
LIST = "o'clock list.csv"
PROFILE = "it's prod"
CONFIG = '[profile."it\'s prod"]\nquota = "none"\nhost = "{}"\naccount_id = "a1"\nstream_id = "st-1"\n'
OPTIONS = ("--profile", PROFILE)
HANDED_OUT = re.compile(
    r"^(?:  to go on +|(?:To |bulkstop: |warning: ).*?[:;] )"
    r"((?:mv|cd|jq|chmod|openssl|gzip|\(umask|\S*bulkstop|\S*python[\d.]* -m (?:bulkstop|pip)) .*?)(?:, or give .*)?$",
    re.MULTILINE,
)

TOOLS = (
    r"jq -|openssl \w|chmod |gzip -|mv |cd |cat |head -|pip install|uv pip|make (?:install|demo|test)|rm -|cp |export "
)
COMMAND = re.compile(rf"(?:^|[ (`:|&'\"])(?:bulkstop (?:{'|'.join(COMMANDS)})\b|{TOOLS})")
"""Matches what looks like a command in the text of a message."""
WRITERS = frozenset({"rebuild_command", "rebuild_recorded", "write_install"})
"""Functions that return a command."""

HELP = "test_help"
KEYS = "test_openssl"
PIP = "test_install"
OF_SCHEDULE = "names a command of a schedule, as test_schedule.py and test_docs_end_of_day.py run them"
SWEPT = {
    "cli/schedule/check.py: bulkstop schedule check": OF_SCHEDULE,
    "cli/schedule/command.py: bulkstop schedule check": OF_SCHEDULE,
    "cli/schedule/command.py: bulkstop schedule export systemd eod -o units": OF_SCHEDULE,
    "cli/schedule/command.py: bulkstop schedule next eod -n 10": OF_SCHEDULE,
    "cli/schedule/export.py: bulkstop schedule export cron eod --zone Etc/UTC > eod.crontab": OF_SCHEDULE,
    "cli/schedule/export.py: bulkstop schedule export systemd eod -o units": OF_SCHEDULE,
    "cli/schedule/history.py: bulkstop schedule history eod -n 20": OF_SCHEDULE,
    "cli/schedule/next.py: bulkstop schedule next --from 2027-03-27T00:00Z --json": OF_SCHEDULE,
    "cli/schedule/next.py: bulkstop schedule next eod -n 10": OF_SCHEDULE,
    "cli/schedule/reading.py: (and {} more; see bulkstop schedule check)": OF_SCHEDULE,
    "cli/schedule/run.py: bulkstop schedule run eod": OF_SCHEDULE,
    "cli/schedule/run.py: bulkstop schedule run eod --again": OF_SCHEDULE,
    "cli/schedule/run.py: bulkstop schedule run eod --preflight": OF_SCHEDULE,
    "cli/schedule/serve.py: bulkstop schedule serve --config /etc/bulkstop/bulkstop.toml": OF_SCHEDULE,
    "runs/schedule/firing.py: {}: is done; bulkstop schedule run {} --again goes on with it": OF_SCHEDULE,
    "runs/schedule/settings.py: {} (and {} more; see bulkstop schedule check)": OF_SCHEDULE,
    "schedule/export/cron.py: cd {} && {}": OF_SCHEDULE,
    "schedule/export/job.py: # {}: written by `bulkstop schedule export`; by time-zone data {} each firing until {}": (
        OF_SCHEDULE
    ),
    'schedule/export/kubernetes.py: RUN python -m pip install --no-cache-dir "/src[holidays]" && rm -rf /src \\': (
        OF_SCHEDULE
    ),
    "schedule/free_days.py: write_install in check_region": OF_SCHEDULE,
    "cli/check.py: bulkstop check campaigns.csv --profile prod": HELP,
    "cli/discover.py: bulkstop discover --status running,Scheduled --profile prod -o running.csv": HELP,
    "cli/discover.py: bulkstop discover --expect 0 --profile prod -o left.csv": HELP,
    "cli/discover.py: bulkstop discover --calling-hours --profile prod | bulkstop stop - --profile prod "
    "--expect 1..50": ("names a command that waits for the quota; test_discover.py gives such a list to stop"),
    "cli/discover.py: --status Active,Preparing reads only these, in a call or two. In an incident, use `bulkstop stop "
    "--running`.": "names a command",
    "cli/hold/command.py: bulkstop hold --until 08:00 --profile prod --max-campaigns 200 --dry-run": HELP,
    "cli/hold/command.py: bulkstop hold --until 08:00 --profile prod --max-campaigns 200 --yes": HELP,
    "cli/hold/command.py: rebuild_command in write_way_on": "test_hold",
    "cli/stop/entry.py: bulkstop stop --running --profile prod --expect 1..60": HELP,
    "cli/load/command.py: rebuild_command in explain_closed": "names a load test as long as the one that was run",
    "cli/stop/summary.py: rebuild_command in find_way_on": "test_stop_that_could_not_list_all",
    "cli/load/command.py: bulkstop load --host http://127.0.0.1:8080 --account-id a1 --stream-id st-1 \\": HELP,
    "cli/report.py: bulkstop report campaigns.csv.results.jsonl --check": HELP,
    "cli/simulate.py: bulkstop simulate --port 8080 --quota 60/60s --latency 120 --fail 5% --log requests.jsonl": HELP,
    "cli/simulate.py: bulkstop simulate --accounts 40 --streams 3 --campaigns 20000 --running 800 --emergency \\": HELP,
    "cli/stop/entry.py: bulkstop stop campaigns.csv --profile prod --dry-run": HELP,
    "cli/stop/entry.py: bulkstop stop campaigns.csv --profile prod --expect 20..30": HELP,
    "cli/stop/entry.py: bulkstop stop campaigns.csv --profile prod --resume --yes": HELP,
    "cli/stop/entry.py: bulkstop stop campaigns.csv --profile prod --retry-failed --yes": HELP,
    "cli/token.py: bulkstop token --profile prod": HELP,
    "cli/verify.py: bulkstop verify campaigns.csv.results.jsonl --profile prod": HELP,
    "cli/verify.py: bulkstop stop campaigns.csv.results.jsonl.running.csv --profile prod --expect 1..20": HELP,
    "cli/stop/options.py: Check afterwards what still runs, as `bulkstop verify` does.": "names a command",
    "cli/report.py: cd {} &&": "test_report",
    "kore/connect/tls.py: {}; decrypt it: (umask 077; openssl pkey -in {} -out open.key)": KEYS,
    "kore/connect/tls.py: {}; decrypt it with openssl pkey, and let nobody else read what that writes": "names a tool",
    "kore/connect/tls.py: openssl pkcs7 -print_certs -in {} -out all.pem": KEYS,
    "kore/connect/tls.py: (umask 077; openssl pkcs12 -in {} -nodes -out all.pem)": KEYS,
    "kore/connect/tls.py: (umask 077; openssl pkey -inform der -in {} -out open.key)": KEYS,
    "kore/connect/tls.py: openssl x509 -inform der -in {} -out cert.pem": KEYS,
    "settings/config_file.py: chmod {}-w {}": "test_chmod",
    "settings/exposure.py: {} {}: everybody on this machine can {} it (mode {}); chmod 600 {}": "test_chmod",
    "text/__init__.py: {} -m pip install {}": PIP,
    "text/__init__.py: uv pip install --python {} {}": PIP,
    "cli/__init__.py: write_install in _name_missing_package": PIP,
    "engine/limits/store.py: write_install in open_store": PIP,
    "report/load/charts.py: write_install in check_library": PIP,
    "source/forms/workbook.py: write_install in _open_sheet": PIP,
    "source/unpack.py: write_install in _open_packed": PIP,
    "cli/discover.py: rebuild_command in command_to_stop": "test_discover",
    "cli/discover.py: rebuild_command in command": "test_discover_that_failed",
    "cli/report.py: bulkstop report campaigns.csv.results.jsonl --failed -o again.csv": HELP,
    "cli/report.py: bulkstop report campaigns.csv.results.jsonl --latest -o latest.csv": HELP,
    "cli/report.py: rebuild_recorded in command_to_stop": "test_report_of_what_failed",
    "cli/report.py: rebuild_recorded in write_way_on": "test_report",
    "cli/stop/summary.py: rebuild_command in write_way_on": "test_stop",
    "cli/stop/verify.py: rebuild_command in print_last_word": "test_stop_that_is_not_read_back",
    "cli/verify.py: rebuild_command in command_to_stop": "test_verify",
}
"""Each command that the code prints, with the test of this file that pastes it, or the reason for none."""
NOT_PASTED = ("names a ",)


def list_texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module except docstrings, with {} for inserted values."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if id(node) not in inner and isinstance(node, ast.JoinedStr | ast.Constant):
            texts = (part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
            yield "".join(text if isinstance(text, str) else "" for text in texts)


def list_commands(path: Path) -> Iterator[str]:
    """Yield the places of a module that print commands: lines of texts that look like one, and calls."""
    source, where = path.read_text(), path.relative_to(PACKAGE)
    if not COMMAND.search(source) and not any(f"{name}(" in source for name in WRITERS):
        return  # nearly all modules have none
    tree = ast.parse(source)
    for text in list_texts(tree):
        yield from (f"{where}: {line.strip()}" for line in text.splitlines() if COMMAND.search(line))
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
        names = {name.id for name in calls if isinstance(name, ast.Name)} & WRITERS
        yield from (f"{where}: {name} in {function.name}" for name in names)


def test_inventory() -> None:
    """Each command that the code prints is listed here, with an existing test that pastes it."""
    found = {command for path in PACKAGE.rglob("*.py") for command in list_commands(path)}
    assert found == SWEPT.keys(), "name the new ones in SWEPT, each with a test here that pastes it"
    tests = globals().keys() | vars(TestEnds).keys() | vars(TestFiles).keys()
    assert {test for test in SWEPT.values() if not test.startswith(NOT_PASTED)} <= tests


def test_inventory_finds() -> None:
    """Commands are found in plain texts and f-strings; docstrings and other words are ignored."""
    tree = ast.parse('"""bulkstop stop a"""\nx = f"see `bulkstop verify {a}`"\ny = "chmod 600 a"\nz = "made to stop"')
    assert [text for text in list_texts(tree) if COMMAND.search(text)] == ["see `bulkstop verify {}`", "chmod 600 a"]


@pytest.mark.parametrize(
    ("values", "before"),
    [(None, '[profile.other]\nhost = "h"\n'), ({"host": "h"}, '[profile."it\'s prod"]\nhost = "h"\n')],
)
def test_quota_lines(values: dict[str, str] | None, before: str, tmp_path: Path) -> None:
    """The lines of a quota that was found can be pasted where the message says, with or without the table."""
    path = tmp_path / "bulkstop.toml"
    target = QuotaTarget(str(path), PROFILE, values)
    place = "paste these lines under" if values is not None else "add these lines to"
    assert place in describe_paste(target, Limit(48, 1.0))
    path.write_text(f"{before}{format_profile(target, Limit(48, 1.0))}\n")
    assert tomllib.loads(path.read_text())
    assert read_profile(str(path), PROFILE).value("quota") == (Limit(48, 1.0),)


@contextmanager
def serve_stops(*, endless: bool = False) -> Iterator[str]:
    """Answer every stop, and return no list, or one without an end."""
    row = {"_id": "cd-1", "status": "Active"}
    page = {"status": "success", "data": {"results": [row], "hasMore": True, "totalResults": 9}}

    class Stops(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            is_stop = "/trigger/" in self.path
            answer = {"status": "Stopped"} if is_stop else page if endless else {"status": "failure"}
            body = json.dumps(answer).encode()
            self.send_response(200 if is_stop or endless else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stops)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Create a folder with a list of three campaigns."""
    folder = tmp_path / "my lists"
    folder.mkdir()
    campaigns(folder / LIST, ["cd-1", "cd-2", "cd-3"])
    return folder


def set_up(desk: Path, url: str) -> None:
    """Write a profile for a service."""
    (desk / "bulkstop.toml").write_text(CONFIG.format(url))


def paste(command: str, cwd: Path, **variables: str) -> Ended:
    """Run a printed command in a shell."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return checked(Ended(done.returncode, done.stdout, done.stderr))


def take(run: Ended) -> str:
    """Return the only suggested command."""
    (command,) = HANDED_OUT.findall(run.err + run.out)
    return str(command)


@pytest.mark.real
@pytest.mark.full
class TestEnds:
    """The commands that continue a run, a list or a result file."""

    @pytest.mark.parametrize(
        ("faults", "words", "codes"),
        [
            (("--unknown", "not_found"), ("--max-failures", "1", "--expect", "3", "--overwrite"), (3, 3)),
            (("--fail-first", "100%"), ("--yes", "--attempts", "1"), (1, 0)),
            (("--fail-first", "100%"), ("--yes", "--attempts", "1", "-o", "it's mine.csv"), (1, 0)),
            (("--fail-first", "100%"), ("--yes", "--attempts", "1", "-o", "-"), (1, 0)),
        ],
        ids=["guard", "failed", "failed with a name", "no result file"],
    )
    def test_stop(self, faults: tuple[str, ...], words: tuple[str, ...], codes: tuple[int, int], desk: Path) -> None:
        """A run that a guard ended continues; failed campaigns are sent again, also if results went to a pipe."""
        with simulator(desk, *faults) as sim:
            set_up(desk, sim.url)
            run = bulkstop("stop", LIST, *OPTIONS, *words, cwd=desk)
            on = paste(take(run), desk)
        assert (run.code, on.code) == codes, on
        assert "rows = lines  3 = 3" in on.err

    def test_hold(self, desk: Path) -> None:
        """A hold that a guard ended continues."""
        with simulator(desk, "--campaigns", "20", "--fail-first", "100%") as sim:
            set_up(desk, sim.url)
            more = ("--max-campaigns", "20", "--max-failures", "1", "--attempts", "1", "--yes", "--for", "50ms")
            run = bulkstop("hold", *OPTIONS, *more, cwd=desk)
            on = paste(take(run), desk)
        assert (run.code, on.code) == (3, 3), on
        assert "rows = lines  " in on.err

    def test_discover(self, desk: Path) -> None:
        """Discovered campaigns are stopped."""
        with simulator(desk, "--campaigns", "40") as sim:
            set_up(desk, sim.url)
            on = paste(take(bulkstop("discover", *OPTIONS, "-o", "what's on.csv", cwd=desk)), desk)
        assert (on.code, "DONE: " in on.err) == (0, True), on

    def test_discover_that_failed(self, desk: Path) -> None:
        """The command reads a list that could not be read before, once it can be."""
        set_up(desk, "http://127.0.0.1:1")
        words = ("--attempts", "1") if "attempts" in OPTIONS else ()
        run = bulkstop("discover", *OPTIONS, *words, "-o", "what's on.csv", cwd=desk)
        with simulator(desk, "--campaigns", "40") as sim:
            set_up(desk, sim.url)
            on = paste(take(run), desk)
        assert (run.code, on.code) == (3, 0), on

    def test_report_of_what_failed(self, desk: Path) -> None:
        """The command with the list of failed rows stops it."""
        with simulator(desk, "--fail-first", "100%") as sim:
            set_up(desk, sim.url)
            assert bulkstop("stop", LIST, *OPTIONS, "--yes", "--attempts", "1", cwd=desk).code == 1
            told = bulkstop("report", f"{LIST}.results.jsonl", "--failed", "-o", "it's again.csv", cwd=desk)
            on = paste(take(told), desk)
        assert (on.code, "DONE: all 3 stopped" in on.err) == (0, True), on

    def test_verify(self, desk: Path) -> None:
        """What still runs is stopped by the command of `verify`; what will run again by that of `stop --verify`."""
        with simulator(desk, "--campaigns", "40") as sim:
            set_up(desk, sim.url)
            assert bulkstop("discover", *OPTIONS, "-o", "what's on.csv", cwd=desk).code == 0
            verified = bulkstop("verify", "what's on.csv", *OPTIONS, cwd=desk)
            on = paste(take(verified), desk)
            assert (verified.code, on.code) == (1, 0), on
            campaigns(desk / LIST, sim.ids())
            again = bulkstop("stop", "what's on.csv", *OPTIONS, "--yes", "--verify", cwd=desk)
            for command in HANDED_OUT.findall(again.err):
                assert paste(f"{command} --dry-run", desk).code == 0

    def test_stop_that_is_not_read_back(self, desk: Path) -> None:
        """If a list cannot be read after a run, the suggested `verify` works later."""
        with serve_stops() as url:
            set_up(desk, url)
            run = bulkstop("stop", LIST, *OPTIONS, "--yes", "--verify", "--max-failures", "9", cwd=desk)
            on = paste(take(run), desk)
        assert (run.code, on.code) == (1, 3), on
        assert take(run).endswith(f"verify {shlex.quote(f'{LIST}.results.jsonl')} --profile {shlex.quote(PROFILE)}")
        assert "Verification" in on.out

    def test_stop_that_could_not_list_all(self, desk: Path) -> None:
        """If a list had no end, the command lists and stops what still runs."""
        with serve_stops(endless=True) as url:
            set_up(desk, url)
            run = bulkstop("stop", "--running", *OPTIONS, "--yes", "--type", "voice", "-o", "it's on.jsonl", cwd=desk)
        with simulator(desk, "--campaigns", "40") as sim:
            set_up(desk, sim.url)
            on = paste(take(run), desk)
        assert (run.code, on.code, "DONE: " in on.err) == (1, 0, True), on

    def test_report(self, desk: Path) -> None:
        """The command of a result file works in another folder."""
        with simulator(desk) as sim:
            set_up(desk, sim.url)
            assert bulkstop("stop", LIST, *OPTIONS, "--yes", "--quiet", cwd=desk).code == 0
            path = desk / f"{LIST}.results.jsonl"
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
            told = bulkstop("report", str(path), cwd=desk.parent)
            on = paste(f"{take(told)} --trust-results", desk.parent)
        assert (on.code, "cd " in take(told)) == (0, True), on


@pytest.mark.real
@pytest.mark.full
class TestFiles:
    """The commands that convert or protect a file."""

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
    @pytest.mark.parametrize(
        ("make", "option", "written"),
        [
            ("openssl x509 -in ca.pem -outform der -out", "--ca", "cert.pem"),
            ("openssl crl2pkcs7 -nocrl -certfile ca.pem -out", "--ca", "all.pem"),
            ("openssl pkcs12 -export -in server.pem -passout pass: -out", "--cert", "all.pem"),
            ("openssl pkey -in server.pem -aes128 -passout pass:pw -out", "--key", "open.key"),
            ("openssl pkey -in server.pem -outform der -out", "--key", "open.key"),
        ],
    )
    def test_openssl(self, make: str, option: str, written: str, desk: Path) -> None:
        """A certificate or key of another format is converted, and a key is only readable by its owner."""
        authority(desk)
        subprocess.run([*shlex.split(make), "it's mine"], cwd=desk, check=True, capture_output=True)
        before = ["--cert", "server.pem"] if option == "--key" else []
        words = ["check", "--host", "https://127.0.0.1:9", "--account-id", "a1", "--stream-id", "st-1", *before]
        verdict = bulkstop(*words, option, "it's mine", cwd=desk).out.splitlines()[-1]
        command = HANDED_OUT.findall(f"bulkstop: {verdict}")
        answers = "-passin pass:pw" if "-aes128" in make else "-passin pass:" if "pkcs12" in make else ""
        assert paste(command[0].replace(" -out", f" {answers} -out"), desk).code == 0  # no terminal is available
        mended = bulkstop(*words, option, written, cwd=desk).out.splitlines()[-1]
        assert "ECONNREFUSED" in mended, mended
        assert option == "--ca" or not (desk / written).stat().st_mode & 0o077

    def test_chmod(self, desk: Path) -> None:
        """A file of secrets or profiles that others can read or change is closed to them."""
        set_up(desk, "http://127.0.0.1:9")
        (desk / "it's secret").write_text(TOKEN)
        (desk / "it's secret").chmod(0o644)
        (desk / "bulkstop.toml").chmod(0o646)
        words = ("stop", LIST, *OPTIONS, "--dry-run", "--token-file", "it's secret")
        for code in (2, 0):
            run = bulkstop(*words, cwd=desk, BULKSTOP_TOKEN=None)
            assert run.code == code, run
            assert paste(take(run), desk).code == 0
        assert HANDED_OUT.findall(bulkstop(*words, cwd=desk, BULKSTOP_TOKEN=None).err) == []

    def test_install(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A package is installed for this program; it exists already, so nothing is fetched."""
        assert paste(write_install("orjson>=3"), desk, PIP_NO_INDEX="1").code == 0
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert write_install("redis>=6") == f"uv pip install --python {shlex.quote(sys.executable)} 'redis>=6'"


def list_examples() -> dict[str, list[str]]:
    """Return the commands of each help page, as pasted."""
    pages = {name: bulkstop(name, "--help", cwd=ROOT).out.replace("\\\n", "") for name in COMMANDS}
    return {name: re.findall(r"^ {4}(bulkstop .*)$", page, re.MULTILINE) for name, page in pages.items()}


@pytest.mark.real
@pytest.mark.full
def test_help(desk: Path) -> None:
    """The examples of all help pages work in a folder with their profile and list."""
    path, examples = with_command(desk / "bin"), list_examples()
    with simulator(desk, "--campaigns", "60") as sim:
        (desk / "bulkstop.toml").write_text(CONFIG.format(sim.url).replace('"it\'s prod"', "prod"))
        codes: dict[str, int] = {}
        (write, _, prove), others = (
            examples.pop("discover"),
            ("stop", "hold", "check", "token", "report", "verify", "load"),
        )
        codes[write] = paste(write, desk, PATH=path).code
        listed = (desk / "running.csv").read_text().splitlines(keepends=True)
        (desk / "campaigns.csv").write_text("".join(listed[:26]))  # some of them recur, so that `verify` finds those
        with (desk / "bulkstop.toml").open("a") as file:
            file.write('[schedule.eod]\nat = "18:00"\ntz = "UTC"\nprofile = "prod"\ninput = "campaigns.csv"\n')
        for example in (prove, *(each for name in (*others, "schedule") for each in examples.pop(name))):
            here = example.replace("http://127.0.0.1:8080", sim.url).replace("--duration 30s", "--duration 1s")
            here = here.replace("--until 08:00", "--for 100ms")
            codes[example] = paste(here, desk, PATH=path).code
    for key in ("north.key", "south.key"):
        (desk / key).write_text("a secret of an app, which is long enough for it")
    for simulate in examples.pop("simulate"):
        here = simulate.replace("--port 8080", "--port 0")
        stopped = (
            f"rm -f address; {here} > address & while ! grep -q http address; do sleep 0.05; done; kill $!; wait $!"
        )
        assert paste(stopped, desk, PATH=path).code == 0
    assert examples == {}
    load = next(example for example in codes if " load " in example)
    assert codes.pop(load) in (0, 1, 3)  # a busy machine does not keep the schedule
    goes_on = {example for example in codes if "--re" in example}  # nothing is left here, which is exit 2
    assert [
        example for example, code in codes.items() if code not in (0, 1, *([2] if example in goes_on else []))
    ] == []
