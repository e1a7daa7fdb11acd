"""The suite fails a test that holds an event loop: planted stalls, in this process and in one that it starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

pytestmark = [pytest.mark.real, pytest.mark.full]

BEGINNING = """
import asyncio, hashlib, subprocess, sys, threading, time
import pytest, uvloop

LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

def run(main, make_loop):
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main)
"""


def run_tests(folder: Path, tests: str) -> tuple[int, str]:
    """Run tests that are held to it; return the exit code and what was said."""
    (folder / "test_planted.py").write_text(BEGINNING + tests)
    options = ("-q", "-p", "tests.stalls.plugin", "-p", "no:cacheprovider", "--asyncio-mode=auto")
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), "test_planted.py"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_what_holds_a_loop_fails(tmp_path: Path) -> None:
    """300 ms of processor time in one callback fail the test and name the callback, on each loop and in a child."""
    code, said = run_tests(
        tmp_path,
        """
async def hold_by_python():
    await asyncio.sleep(0)
    burn(0.4)
    await asyncio.sleep(0)

async def hold_by_a_call():
    await asyncio.sleep(0)
    began = time.thread_time()
    while time.thread_time() < began + 0.4:
        "x".join(["y" * 1000] * 20_000)
    await asyncio.sleep(0)

class Protocol(asyncio.Protocol):
    def data_received(self, data):
        burn(0.4)
        over.set()

async def hold_by_an_answer():
    global over
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    async with await loop.create_server(Protocol, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        await over.wait()
        writer.close()

@LOOPS
@pytest.mark.parametrize("main", [hold_by_python, hold_by_a_call, hold_by_an_answer])
def test_here(main, make_loop):
    run(main(), make_loop)

async def test_of_a_coroutine():
    await hold_by_python()

def test_there():
    code = "import asyncio, time\\nasync def hold_there():\\n while time.thread_time() < 0.6: pass\\n"
    subprocess.run([sys.executable, "-c", code + "asyncio.run(hold_there())"], check=True)

@pytest.mark.stalls("on purpose")
async def test_on_purpose():
    await hold_by_python()
""",
    )
    assert code == 1
    assert "8 failed, 1 passed" in said
    for name in ("hold_by_python", "hold_by_a_call", "data_received", "test_of_a_coroutine", "hold_there"):
        assert name in said


def test_imports(tmp_path: Path) -> None:
    """The import of a large package in a loop fails the test, however fast it is; one in a thread beside it passes."""
    code, said = run_tests(
        tmp_path,
        """
BESIDE = "import asyncio\\nasync def main(): await asyncio.to_thread(__import__, 'aiohttp')\\nasyncio.run(main())"
INSIDE = "import asyncio\\nasync def main(): import aiohttp\\nasyncio.run(main())"

@pytest.mark.parametrize("code", [BESIDE, INSIDE])
def test_there(code):
    subprocess.run([sys.executable, "-c", code], check=True)
""",
    )
    assert "1 failed, 1 passed" in said, said
    assert "the import of aiohttp" in said
    assert code == 1


def test_what_only_takes_time_passes(tmp_path: Path) -> None:
    """A wait, a call that blocks, other threads' work and many short callbacks hold no loop, however long they take."""
    code, said = run_tests(
        tmp_path,
        """
async def wait_for_a_thread():
    await asyncio.to_thread(time.sleep, 0.6)

async def wait_for_work_of_a_thread():
    await asyncio.to_thread(burn, 0.4)

async def block():
    time.sleep(0.6)
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.thread_time() < 0.4: pass"])

async def do_much_in_small_parts():
    for _ in range(40):
        burn(0.01)
        await asyncio.sleep(0)

@LOOPS
@pytest.mark.parametrize("main", [wait_for_a_thread, wait_for_work_of_a_thread, block, do_much_in_small_parts])
def test_here(main, make_loop):
    run(main(), make_loop)
""",
    )
    assert "8 passed" in said, said
    assert code == 0
