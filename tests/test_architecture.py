"""The package keeps to the picture in ARCHITECTURE.md: who may import whom, and what only one place may do."""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ROOT / "bulkstop"
PICTURE = (ROOT / "ARCHITECTURE.md").read_text()
WHERE_TO_ADD = (
    (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Where to add something\n")[2].partition("\n## How")[0]
)
PATHS = sorted(path.relative_to(TOP).as_posix() for path in TOP.rglob("*.py"))
MOST_MODULES = 13

NOUNS = {
    "model",
    "errors",
    "events",
    "ids",
    "impact",
    "naming",
    "version",
    "text",
    "redact",
    "files",
    "outbox",
    "units",
}
FLOW = {"source", "engine", "kore", "report", "workers", "schedule"}
MAY_IMPORT = {
    **dict.fromkeys(NOUNS, frozenset[str]()),
    "errors": {"naming"},
    "ids": {"naming"},
    "model": {"ids"},
    "impact": {"model"},
    "files": {"errors", "naming", "outbox"},
    "outbox": {"errors"},
    **dict.fromkeys({*FLOW, "settings", "simulator"}, NOUNS),
    "runs": NOUNS | FLOW | {"settings", "simulator", "bulkstop"},
    "cli": NOUNS | FLOW | {"settings", "simulator", "bulkstop", "runs"},
    "bulkstop": NOUNS | {"settings", "runs", "report", "simulator", "source"},
    "hooks": NOUNS | {"engine", "kore", "runs"},
    "__main__": {"cli"},
}
"""Which parts a part may import beside itself; `bulkstop` is the facade, bulkstop/__init__.py."""

ONLY_IN = {
    "import aiohttp": ("kore/aiohttp_transport.py", "simulator/"),
    "import yarl": ("kore/aiohttp_transport.py",),
    "import httptools": ("kore/wire/response.py",),
    "import aiohappyeyeballs": ("kore/connect/dialer.py",),
    "import tenacity": ("engine/retry.py",),
    "import sqlite3": ("engine/limits/store_sqlite.py", "engine/limits/store_layout.py"),
    "import redis": ("engine/limits/store_redis.py",),
    "import jwt": ("kore/token.py", "simulator/"),
    "import rich": ("report/stop/progress.py",),
    "import plotly": ("report/load/charts.py",),
    "import click": ("cli/",),
    "import python_calamine": ("source/forms/workbook.py",),
    "import hdrh": ("report/load/histogram.py",),
    "import multiprocessing": ("workers/fork.py",),
    "import uvloop": ("runs/host.py",),
    "import cronsim": ("schedule/firings.py",),
    "import holidays": ("schedule/free_days.py",),
    **dict.fromkeys((".create_task", ".TaskGroup", ".ensure_future", ".gather"), ("engine/tasks.py",)),
    **dict.fromkeys(("asyncio.run", "asyncio.Runner"), ("runs/host.py", "simulator/thread.py")),
    "asyncio.new_event_loop": ("runs/host.py",),
    **dict.fromkeys(("print", "click.echo", "click.secho"), ("cli/",)),
    **dict.fromkeys(("sys.exit", "os._exit", "exit", "quit", "SystemExit"), ("cli/",)),
}
"""Where certain things may be used: libraries, tasks, event loops, printing and exits.

Ruff's banned names have one set of files for all of them, so that a command could make loops because it may exit.
"""
SERVERS_SIDE = {"aiohttp.web", "aiohttp.http_exceptions"}


@cache
def read(path: str) -> str:
    """Read a module of the package."""
    return (TOP / path).read_text()


def part_of(path: str) -> str:
    """Return the part that a module belongs to: a folder, or a module at the top."""
    top = path.split("/")[0].removesuffix(".py")
    return "bulkstop" if top == "__init__" else top


parse = cache(ast.parse)


@cache
def imports(text: str) -> set[str]:
    """Return the full dotted name of all that is imported, wherever in the module."""
    names = set[str]()
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def uses(text: str) -> Iterator[str]:
    """Yield what is imported and every name that is used, a dotted one also by its last part."""
    for name in imports(text):
        yield from (f"import {name.split('.')[0]}", name, f".{name.rpartition('.')[2]}")
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield from (ast.unparse(node), f".{node.attr}")


def wrong_parts(path: str, text: str) -> set[str]:
    """Find imports of parts that this part may not know."""
    seconds = {f"{name}.".split(".")[1] for name in imports(text) if name.split(".")[0] == "bulkstop"}
    parts = {second if second in {part_of(each) for each in PATHS} else "bulkstop" for second in seconds}
    return parts - {part_of(path)} - MAY_IMPORT[part_of(path)]


def wrong_places(path: str, text: str) -> set[str]:
    """Find what only another place may use."""
    return {name for name in uses(text) if not path.startswith(ONLY_IN.get(name, ("",)))}


def wrong_ends_of_http(path: str, text: str) -> set[str]:
    """Find a client's side of aiohttp in the simulator, and a server's side of it anywhere else."""
    names = {name for name in imports(text) if name.split(".")[0] == "aiohttp"}
    return names - SERVERS_SIDE if part_of(path) == "simulator" else names & SERVERS_SIDE


def wrong_docstring(path: str, text: str) -> set[str]:
    """Find a module whose docstring does not begin with one sentence on one line, or a folder's that has an "and"."""
    first, *more = (ast.get_docstring(parse(text)) or "").splitlines() or [""]
    is_sentence = first.endswith(".") and ". " not in first and not (more and more[0])
    has_and = path.endswith("/__init__.py") and re.search(r"\band\b", first)
    return set() if is_sentence and not has_and else {first}


RULES: list[Callable[[str, str], set[str]]] = [wrong_parts, wrong_places, wrong_ends_of_http, wrong_docstring]


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: Callable[[str, str], set[str]]) -> None:
    """No module breaks the rule."""
    assert {path: wrong for path in PATHS if (wrong := rule(path, read(path)))} == {}


@pytest.mark.parametrize(
    ("rule", "path", "text", "is_wrong"),
    [
        (wrong_parts, "source/plan.py", "from bulkstop.engine.pool import Pool", True),
        (wrong_parts, "engine/pool.py", "from bulkstop import report", True),
        (wrong_parts, "report/stop/stats.py", "import bulkstop.kore.interpret", True),
        (wrong_parts, "engine/pool.py", "def f():\n    from bulkstop import stop", True),
        (wrong_parts, "simulator/server.py", "from bulkstop.kore.calls import V2", True),
        (wrong_parts, "model.py", "from bulkstop.errors import InputError", True),
        (wrong_parts, "runs/stop/run.py", "from bulkstop import source\nfrom bulkstop.kore import stop", False),
        (wrong_parts, "engine/pool.py", "from bulkstop.engine.lanes import Lanes", False),
        (wrong_places, "kore/interpret.py", "import aiohttp", True),
        (wrong_places, "kore/aiohttp_transport.py", "def f():\n    import jwt", True),
        (wrong_places, "report/stop/summary.py", "from rich.table import Table", True),
        (wrong_places, "simulator/auth.py", "import jwt", False),
        (wrong_places, "kore/token.py", "asyncio.get_running_loop().create_task(f())", True),
        (wrong_places, "report/stop/progress.py", "from asyncio import gather as g", True),
        (wrong_places, "engine/tasks.py", "group.create_task(f())", False),
        (wrong_places, "cli/token.py", "asyncio.run(f())", True),
        (wrong_places, "runs/lists/verify.py", "from asyncio import Runner", True),
        (wrong_places, "runs/lists/verify.py", "loop.run(f())", False),
        (wrong_places, "runs/stop/run.py", "print('x')", True),
        (wrong_places, "engine/pool.py", "from sys import exit as leave", True),
        (wrong_places, "runs/stop/run.py", "raise SystemExit(1)", True),
        (wrong_places, "cli/terminal.py", "click.echo('x')", False),
        (wrong_ends_of_http, "simulator/server.py", "from aiohttp import ClientSession", True),
        (wrong_ends_of_http, "kore/aiohttp_transport.py", "from aiohttp import web", True),
        (wrong_ends_of_http, "simulator/server.py", "from aiohttp import http_exceptions, web", False),
        (wrong_docstring, "model.py", "", True),
        (wrong_docstring, "model.py", '"""Nouns. Verbs, too."""', True),
        (wrong_docstring, "model.py", '"""Nouns that\nwrap.\n"""', True),
        (wrong_docstring, "kore/__init__.py", '"""Calls and answers."""', True),
        (wrong_docstring, "model.py", '"""Nouns and verbs.\n\nAnd more of them. Really."""', False),
    ],
)
def test_what_a_rule_finds(rule: Callable[[str, str], set[str]], path: str, text: str, is_wrong: bool) -> None:
    """A rule finds what is planted, so that its silence means something, and lets through what is allowed."""
    assert bool(rule(path, text)) is is_wrong


def test_no_folder_is_crowded() -> None:
    """No folder has more than 13 modules beside its `__init__.py`."""
    folders = [path.rpartition("/")[0] for path in PATHS]
    assert {folder for folder in folders if folders.count(folder) - 1 > MOST_MODULES} == set()


def test_every_part_is_known() -> None:
    """A part that is added gets its rule here."""
    assert set(map(part_of, PATHS)) == set(MAY_IMPORT)


def pictured() -> set[str]:
    """Return the path of every module in the picture: what a folder holds is indented below it."""
    paths, folders = set[str](), list[str]()
    for line in PICTURE.split("```")[1].splitlines()[2:]:
        if match := re.match(r"( +)([\w.]+)(/?)(?=\s|$)", line):
            indent, name, slash = match.groups()
            folders = folders[: len(indent) // 2 - 1]
            if slash:
                folders.append(name)
            else:
                paths.add("/".join([*folders, name]))
    return paths


def test_picture_is_complete() -> None:
    """ARCHITECTURE.md names every module, and no module that is not there."""
    files = {path for path in PATHS if not path.endswith("/__init__.py")}
    assert pictured() - {f"{part_of(path)}/__init__.py" for path in PATHS} == files


def definitions(path: str) -> set[str]:
    """Return the classes, functions, methods and names that a module defines."""
    names = set[str]()
    for node in parse(read(path)).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                methods = [item for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
                names |= {name, *(f"{name}.{method.name}" for method in methods)}
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def test_references() -> None:
    """Names in ARCHITECTURE.md and CONTRIBUTING with their modules exist; so does every path."""
    walked = re.findall(r"`([\w.]+)` \((\w[\w/]*\.py)\)", PICTURE)
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", WHERE_TO_ADD)
    assert min(len(walked) - 15, len(named)) > 0
    assert [(name, path) for name, path in walked + named if name not in definitions(path)] == []
    paths = {path for path in re.findall(r"`([\w/]+(?:\.\w+|/))`", WHERE_TO_ADD) if "/" in path}
    assert len(paths) > 30
    assert {path for path in paths if not ((TOP / path).exists() or (ROOT / path).exists())} == set()
