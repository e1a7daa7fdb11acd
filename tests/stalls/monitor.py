"""Notes each time that an event loop of this process is held for too long, by processor time: the machine is noisy.

asyncio's own loops run every callback by `Handle._run`, which is measured. What uvloop runs nobody can measure, so a
thread asks it now and then to run a callback, and the processor time of the loop's thread until it does is what another
callback would have waited.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

VARIABLE = "STALLS_FILE"
"""Names the file in which stalls are noted, also by the processes that a test starts."""
LIMIT_S = 0.25
LOOK_S = 0.05

HEAVY = ("aiohttp", "redis", "cryptography", "rich")
"""Packages that take so long to import that a loop of a busy machine would be held, although one of a quiet one is not.
"""

_patches: dict[str, Callable[[ModuleType], None]] = {}


def install() -> None:
    """Measure the loops of this process, those of modules that are imported later as well: importing costs a start."""
    if os.environ.get(VARIABLE) and not _patches:
        _patches.update({"asyncio.events": _patch_asyncio, "uvloop": _patch_uvloop})
        for name, patch in _patches.items():
            if (module := sys.modules.get(name)) is not None:
                patch(module)
        sys.meta_path.insert(0, _Finder())


def take_stalls() -> list[str]:
    """Return what was noted since the last time."""
    try:
        with open(os.environ[VARIABLE], "r+", encoding="utf-8") as file:  # noqa: PTH123 - a start-up has no pathlib
            lines = file.read().splitlines()
            file.truncate(0)
    except FileNotFoundError:
        return []
    return lines


def _note(held_s: float, by: str) -> None:
    _write(f"{held_s:.3f} s of processor time: {by}")


def _write(what: str) -> None:
    with open(os.environ[VARIABLE], "a", encoding="utf-8") as file:  # noqa: PTH123 - a start-up has no pathlib
        file.write(f"{what} (process {os.getpid()}: {' '.join(sys.argv)[:200]})\n")


class _Finder:
    """Has a module patched as soon as it is imported."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find what Python would find."""
        if name in HEAVY and "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None:
            _write(f"the import of {name}")
        if name not in _patches or (spec := PathFinder.find_spec(name, path, target)) is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _patches[name](module)

        loader.exec_module = exec_module
        return spec


def _patch_asyncio(events: ModuleType) -> None:
    run, clock = events.Handle._run, time.thread_time

    def run_measured(handle: Any) -> None:
        began_s, callback = clock(), handle._callback
        run(handle)
        if (held_s := clock() - began_s) > LIMIT_S:
            _note(held_s, _describe(callback))

    events.Handle._run = run_measured


def _describe(callback: Any) -> str:
    owner: Any = getattr(callback, "__self__", None)
    coroutine = owner.get_coro() if hasattr(owner, "get_coro") else None
    return str(getattr(coroutine, "__qualname__", None) or getattr(callback, "__qualname__", None) or repr(callback))


def _patch_uvloop(module: ModuleType) -> None:
    run_forever = module.Loop.run_forever

    def run_watched(loop: Any) -> None:
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(loop, threading.get_ident(), over), daemon=True)
        watcher.start()
        try:
            run_forever(loop)
        finally:
            over.set()
            watcher.join()

    module.Loop.run_forever = run_watched


def _watch(loop: Any, thread: int, over: threading.Event) -> None:
    clock = time.pthread_getcpuclockid(thread)
    while not over.wait(LOOK_S):
        beat = _Beat()
        try:
            loop.call_soon_threadsafe(beat)
        except RuntimeError:  # it is closed
            return
        began_s = time.clock_gettime(clock)  # not before: this thread may have had to wait meanwhile
        where = ""
        while not beat.came.wait(LOOK_S) and not over.is_set():
            if not where and time.clock_gettime(clock) - began_s > LIMIT_S:
                where = _find_place(thread)
        if beat.came.is_set() and (held_s := beat.at_s - began_s) > LIMIT_S:
            _note(held_s, where or "a call that held the interpreter")


class _Beat:
    """Notes when the loop has come to run it, on the clock of the loop's thread."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.at_s = 0.0

    def __call__(self) -> None:
        self.at_s = time.thread_time()
        self.came.set()


def _find_place(thread: int) -> str:
    frames = traceback.extract_stack(sys._current_frames().get(thread))
    return " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[:-6:-1])
