"""The package keeps to the picture in ARCHITECTURE.md: who may import whom, and what only one place may do."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PICTURE = (ROOT / "ARCHITECTURE.md").read_text()

NOUNS = {"model", "errors", "events", "ids", "version", "text", "redact", "files", "units"}
FLOW = {"source", "engine", "kore", "report", "workers"}
MAY_IMPORT = {
    "model": {"ids"},
    "errors": set[str](),
    "events": set[str](),
    "version": set[str](),
    "text": set[str](),
    "redact": set[str](),
    "units": set[str](),
    "files": {"errors"},
    "ids": set[str](),
    "settings": NOUNS,
    **dict.fromkeys(FLOW, NOUNS),
    "simulator": NOUNS,
    "runs": NOUNS | FLOW | {"settings", "simulator", "bulkstop"},
    "cli": NOUNS | FLOW | {"settings", "simulator", "bulkstop", "runs"},
    "bulkstop": NOUNS | {"settings", "runs", "report"},
    "__main__": {"cli"},
}
"""Which parts a part may import beside itself; `bulkstop` is the facade, bulkstop/__init__.py."""

ONLY_IMPORTED_IN = {
    "aiohttp": ("kore/aiohttp_transport.py", "simulator/"),
    "yarl": ("kore/aiohttp_transport.py",),
    "httptools": ("kore/wire/response.py",),
    "aiohappyeyeballs": ("kore/wire/dialer.py",),
    "tenacity": ("engine/retry.py",),
    "pyrate_limiter": ("engine/limits/store_sqlite.py", "engine/limits/store_redis.py"),
    "redis": ("engine/limits/store_redis.py",),
    "jwt": ("kore/token.py", "simulator/"),
    "rich": ("report/stop/progress.py",),
    "plotly": ("report/load/charts.py",),
    "click": ("cli/",),
    "hdrh": ("report/load/histogram.py",),
    "multiprocessing": ("workers/fork.py",),
    "uvloop": ("runs/host.py",),
}
MAKES_TASKS = {"create_task", "TaskGroup", "ensure_future", "gather"}
MAKES_LOOPS = {"asyncio.run", "asyncio.Runner", "asyncio.new_event_loop"}
PRINTS_OR_EXITS = {"print", "click.echo", "click.secho", "sys.exit", "os._exit", "exit", "quit", "SystemExit"}


@dataclass(frozen=True)
class Module:
    """A module of the package: its path below bulkstop/, and what it says."""

    path: str
    text: str

    @property
    def part(self) -> str:
        """The part it belongs to: a folder, or a module at the top."""
        top = self.path.split("/")[0].removesuffix(".py")
        return "bulkstop" if top == "__init__" else top

    @property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return parse(self.text)


@cache
def parse(text: str) -> ast.Module:
    """Parse a module once for all rules."""
    return ast.parse(text)


@cache
def package() -> list[Module]:
    """Read every module of the package."""
    top = ROOT / "bulkstop"
    return [Module(path.relative_to(top).as_posix(), path.read_text()) for path in sorted(top.rglob("*.py"))]


def imports(module: Module) -> Iterator[str]:
    """Yield the full dotted name of all that is imported, wherever in the module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def uses(module: Module) -> Iterator[str]:
    """Yield every name and every dotted name that is used, each dotted one also by its last part."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield from (ast.unparse(node), f".{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            yield from (f".{alias.name}" for alias in node.names)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_imported(module: Module) -> set[str]:
    """Return the parts of the package that a module imports, its own left out."""
    parts = {part.path.split("/")[0].removesuffix(".py") for part in package()}
    found = set()
    for name in imports(module):
        first, _, rest = name.partition(".")
        if first == "bulkstop":
            second = rest.split(".")[0]
            found.add(second if second in parts else "bulkstop")
    return found - {module.part}


def wrong_parts(module: Module) -> list[str]:
    """Find imports of parts that this part may not know."""
    return sorted(parts_imported(module) - MAY_IMPORT[module.part])


def wrong_libraries(module: Module) -> list[str]:
    """Find libraries that belong to another module."""
    found = {name.split(".")[0] for name in imports(module)}
    return sorted(name for name in found if not module.path.startswith(ONLY_IMPORTED_IN.get(name, ("",))))


def wrong_ends_of_http(module: Module) -> list[str]:
    """Find a client's side of aiohttp in the simulator, and a server's side of it anywhere else."""
    server = {"aiohttp.web", "aiohttp.http_exceptions"}
    found = {name for name in imports(module) if name.split(".")[0] == "aiohttp"}
    return sorted(found - server if module.part == "simulator" else found & server)


def wrong_tasks(module: Module) -> list[str]:
    """Find tasks that are made outside their one home."""
    if module.path == "engine/tasks.py":
        return []
    return sorted({name for name in uses(module) if name.rpartition(".")[2] in MAKES_TASKS})


def wrong_loops(module: Module) -> list[str]:
    """Find event loops that are made elsewhere than in the one place that knows how they end."""
    return [] if module.path == "runs/host.py" else sorted(set(uses(module)) & MAKES_LOOPS)


def wrong_prints(module: Module) -> list[str]:
    """Find what prints or exits outside the command line."""
    return [] if module.part == "cli" else sorted(set(uses(module)) & PRINTS_OR_EXITS)


def wrong_docstring(module: Module) -> list[str]:
    """Find a module whose docstring does not begin with one sentence on one line."""
    lines = (ast.get_docstring(module.tree) or "").splitlines() or [""]
    is_sentence = lines[0].endswith(".") and ". " not in lines[0] and not (lines[1:] and lines[1])
    return [] if is_sentence else [lines[0]]


Rule = Callable[[Module], list[str]]
RULES: list[Rule] = [
    wrong_parts,
    wrong_libraries,
    wrong_ends_of_http,
    wrong_tasks,
    wrong_loops,
    wrong_prints,
    wrong_docstring,
]


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: Rule) -> None:
    """No module breaks the rule."""
    assert {module.path: found for module in package() if (found := rule(module))} == {}


@pytest.mark.parametrize(
    ("rule", "path", "line"),
    [
        (wrong_parts, "source/plan.py", "from bulkstop.engine.pool import Pool"),
        (wrong_parts, "engine/pool.py", "from bulkstop import report"),
        (wrong_parts, "report/stop/stats.py", "import bulkstop.kore.interpret"),
        (wrong_parts, "kore/aiohttp_transport.py", "from bulkstop.settings import Settings"),
        (wrong_parts, "engine/pool.py", "def f():\n    from bulkstop import stop"),
        (wrong_parts, "engine/pool.py", "if TYPE_CHECKING:\n    from bulkstop.simulator import Simulator"),
        (wrong_parts, "runs/stop/run.py", "from bulkstop.cli.stop.command import command"),
        (wrong_parts, "simulator/server.py", "from bulkstop.kore.calls import VOICE_PATH"),
        (wrong_parts, "model.py", "from bulkstop.errors import InputError"),
        (wrong_parts, "settings/__init__.py", "from bulkstop.kore.token import ALGORITHMS"),
        (wrong_libraries, "kore/interpret.py", "import aiohttp"),
        (wrong_libraries, "kore/session.py", "from yarl import URL"),
        (wrong_libraries, "engine/pool.py", "import tenacity"),
        (wrong_libraries, "kore/aiohttp_transport.py", "def f():\n    import jwt"),
        (wrong_libraries, "report/stop/summary.py", "from rich.table import Table"),
        (wrong_libraries, "runs/stop/run.py", "from click import echo"),
        (wrong_ends_of_http, "simulator/server.py", "from aiohttp import ClientSession"),
        (wrong_ends_of_http, "kore/aiohttp_transport.py", "from aiohttp import web"),
        (wrong_tasks, "runs/stop/run.py", "asyncio.create_task(f())"),
        (wrong_tasks, "kore/token.py", "asyncio.get_running_loop().create_task(f())"),
        (wrong_tasks, "report/stop/progress.py", "from asyncio import gather as g"),
        (wrong_tasks, "simulator/server.py", "async def f():\n    async with asyncio.TaskGroup() as g: ..."),
        (wrong_loops, "cli/token.py", "import asyncio\nasyncio.run(f())"),
        (wrong_loops, "runs/lists/verify.py", "from asyncio import Runner"),
        (wrong_prints, "runs/stop/run.py", "print('x')"),
        (wrong_prints, "runs/stop/run.py", "raise SystemExit(1)"),
        (wrong_prints, "engine/pool.py", "import sys\nsys.exit(1)"),
        (wrong_prints, "engine/pool.py", "from sys import exit as leave"),
        (wrong_docstring, "model.py", ""),
        (wrong_docstring, "model.py", '"""Nouns"""'),
        (wrong_docstring, "model.py", '"""Nouns. Verbs, too."""'),
        (wrong_docstring, "model.py", '"""Nouns that\nwrap.\n"""'),
    ],
)
def test_planted_violation(rule: Rule, path: str, line: str) -> None:
    """A rule finds what is planted, so that its silence means something."""
    assert rule(Module(path, line)) != []


@pytest.mark.parametrize(
    ("rule", "path", "line"),
    [
        (
            wrong_parts,
            "runs/stop/run.py",
            "from bulkstop import source, version\nfrom bulkstop.kore import stop",
        ),
        (wrong_parts, "cli/stop/command.py", "from bulkstop.simulator import serve"),
        (wrong_parts, "engine/pool.py", "from bulkstop.engine.lanes import Lanes"),
        (wrong_libraries, "simulator/auth.py", "import jwt"),
        (wrong_ends_of_http, "simulator/server.py", "from aiohttp import http_exceptions, web"),
        (wrong_tasks, "engine/tasks.py", "group.create_task(f())"),
        (wrong_loops, "runs/host.py", "import asyncio\nasyncio.Runner()"),
        (wrong_loops, "runs/lists/verify.py", "loop.run(f())"),
        (wrong_prints, "cli/terminal.py", "click.echo('x')"),
        (wrong_docstring, "model.py", '"""Nouns.\n\nAnd more of them. Really."""'),
    ],
)
def test_no_false_alarm(rule: Rule, path: str, line: str) -> None:
    """A rule lets through what is allowed."""
    assert rule(Module(path, line)) == []


MOST_MODULES = 13


def folders() -> dict[str, list[str]]:
    """Return the modules of every folder of the package."""
    found: dict[str, list[str]] = {}
    for module in package():
        folder, _, name = module.path.rpartition("/")
        found.setdefault(folder, []).append(name)
    return found


def test_no_folder_is_crowded() -> None:
    """No folder has more than 13 modules beside its `__init__.py`."""
    crowded = {folder: len(names) - 1 for folder, names in folders().items() if len(names) - 1 > MOST_MODULES}
    assert crowded == {}


def test_a_folder_is_one_sentence() -> None:
    """What a folder is for can be said in one sentence without "and"."""
    inits = {module.path: ast.get_docstring(module.tree) or "" for module in package() if "/__init__" in module.path}
    assert {path: text for path, text in inits.items() if re.search(r"\band\b", text.partition("\n")[0])} == {}


def test_every_part_is_known() -> None:
    """A part that is added gets its rule here."""
    assert {module.part for module in package()} == set(MAY_IMPORT)


def pictured() -> set[str]:
    """Return the path of every module in the picture: what a folder holds is indented below it."""
    tree = PICTURE.split("```")[1]
    found, folders = set[str](), list[str]()
    for line in tree.splitlines()[2:]:
        if match := re.match(r"( +)([\w.]+)(/?)(?=\s|$)", line):
            indent, name, slash = match.groups()
            folders = folders[: len(indent) // 2 - 1]
            if slash:
                folders.append(name)
            else:
                found.add("/".join([*folders, name]))
    return found


def test_picture_is_complete() -> None:
    """ARCHITECTURE.md names every module, and no module that is not there."""
    files = {module.path for module in package() if not module.path.endswith("/__init__.py")}
    assert pictured() - {f"{module.part}/__init__.py" for module in package()} == files


def definitions(path: str) -> set[str]:
    """Return the classes, functions, methods and names that a module defines."""
    found = set[str]()
    for node in ast.parse((ROOT / "bulkstop" / path).read_text()).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name, body=body):
                found.add(name)
                found |= {
                    f"{name}.{item.name}" for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


REFERENCES = re.findall(r"`([\w.]+)` \((\w[\w/]*\.py)\)", PICTURE)


def test_there_are_references() -> None:
    """The walk through the code names functions, each with its module in brackets behind it."""
    assert len(REFERENCES) > 15


@pytest.mark.parametrize(("name", "path"), REFERENCES)
def test_reference(name: str, path: str) -> None:
    """What ARCHITECTURE.md names stands where it says."""
    assert name in definitions(path)


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
WHERE = CONTRIBUTING.partition("\n|---|---|\n")[2]


def test_where_to_add() -> None:
    """Every path that CONTRIBUTING names for an addition exists, and every function or class in brackets beside it."""
    paths = set(re.findall(r"`([\w/]+(?:\.py|/))`", WHERE))
    assert len(paths) > 20
    assert {path for path in paths if not (ROOT / "bulkstop" / path).exists()} == set()
    named = re.findall(r"`(\w+)` in `([\w/]+\.py)`", WHERE)
    assert [(name, path) for name, path in named if name not in definitions(path)] == []
