"""A real browser without a screen or a network, for pages that must work as a reader opens them.

    browser(folder)          chromium, running; no name resolves and no proxy answers for it
    opened(browser, path)    a file in a tab of its own: what it drew, asked for and complained about

Nothing here imports the package under test.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium", path="/usr/bin:/usr/local/bin")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--disable-breakpad", "--hide-scrollbars", "--window-size=1250,900"),
    *("--proxy-server=127.0.0.1:1", "--host-resolver-rules=MAP * ~NOTFOUND"),
)
LISTENS = re.compile(r"DevTools listening on (ws://\S+)")


@contextmanager
def browser(folder: Path) -> Iterator[str]:
    """Run chromium; return the address at which it can be driven."""
    assert CHROMIUM is not None
    folder.mkdir()
    process = subprocess.Popen(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}/profile", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "HOME": str(folder), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
    )
    assert process.stderr is not None
    reader: Thread | None = None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := LISTENS.search(line):
                break
        else:
            raise AssertionError(f"chromium did not start: {''.join(said)}")
        reader = Thread(target=deque, args=(process.stderr, 0))  # a full pipe would block it
        reader.start()
        yield found[1]
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own session, which has all of its processes
        process.wait()
        if reader is not None:
            reader.join()
        process.stderr.close()


@dataclass
class Tab:
    """A tab with a page: its errors, its requests, and the dialogs it opened."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    is_loaded: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol, and record the events meanwhile."""
        number = next(self._numbers)
        await self._send(number, method, params)
        while True:
            message = json.loads(await self.socket.receive_str())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            await self._note(message.get("method"), message.get("params"))

    async def loaded(self) -> None:
        """Wait until the page and all its resources are loaded."""
        while not self.is_loaded:
            message = json.loads(await self.socket.receive_str())
            await self._note(message.get("method"), message.get("params"))

    async def value(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def _note(self, method: str | None, params: Any) -> None:
        match method:
            case "Page.loadEventFired":
                self.is_loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(params["exceptionDetails"].get("exception", {}).get("description", "?"))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str([each.get("value") for each in params["args"]]))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])
                await self._send(next(self._numbers), "Page.handleJavaScriptDialog", {"accept": False})

    async def _send(self, number: int, method: str, params: dict[str, Any]) -> None:
        where = {"sessionId": self.session} if self.session else {}
        await self.socket.send_json({"id": number, "method": method, "params": params, **where})


@asynccontextmanager
async def opened(address: str, path: Path, *, scripts: bool = True) -> AsyncIterator[Tab]:
    """Open a file and wait until it is loaded, with or without its scripts."""
    async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
        tab = Tab(socket)
        target = (await tab.call("Target.createTarget", url="about:blank"))["targetId"]
        tab.session = (await tab.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for part in ("Page", "Network", "Runtime", "Log"):
            await tab.call(f"{part}.enable")
        if not scripts:
            await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        await tab.call("Page.navigate", url=path.as_uri())
        await tab.loaded()
        yield tab
        await tab.call("Target.closeTarget", targetId=target)
