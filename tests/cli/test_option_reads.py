"""A command has exactly the options that its code reads, as found by parsing that code."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from bulkstop.cli import COMMANDS, MODULES, commands
from bulkstop.cli.options import HEADINGS, heading_of
from bulkstop.settings import OPTION_SPECS

PACKAGE = Path(__file__).resolve().parents[2] / "bulkstop"
METHODS = {"seconds_left": {"finish_by", "tz"}}
"""The settings that methods of `Settings` read."""
CHECKED = {"host": {"insecure_http"}}
"""Settings that only the checks of settings read, for the sake of another setting."""
NO_USE = {"list_secrets", "find_exposures"}
"""Functions that read settings only to mask their values, or to warn of them."""
READ_WITHOUT_OPTION = {
    "token": dict.fromkeys(
        ("host", "insecure_http"), "its profiles could tell accounts of hosts apart, which it never asks"
    ),
    "verify": dict.fromkeys(("order", "protect"), "nothing is sent, and what is protected is for the profile to say"),
    "discover": {
        "concurrency": "the calls of its one account leave one after the other",
        "type": "its own --type takes several",
    },
    "load": {
        **dict.fromkeys(("adaptive", "attempts", "pace", "quota"), "its parts have accounts, which nobody asks"),
        "order": "a list is sent in its own order",
        "quota_store": "it is not to be written over",
    },
}

Place = tuple[str, str]
"""A module, and its definitions."""


@cache
def modules() -> dict[str, ast.Module]:
    """Parse every module of the package."""
    paths = {path: path.relative_to(PACKAGE.parent).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
    return {
        name.replace("/", ".").removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in paths.items()
    }


@cache
def definitions(module: str) -> dict[str, ast.AST]:
    """Return the definitions of a module by name."""
    nodes: dict[str, ast.AST] = {}
    for node in modules()[module].body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            nodes[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            nodes |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return nodes


@cache
def imports(module: str) -> dict[str, str]:
    """Return what the imported names of a module refer to, wherever they are imported."""
    nodes = [node for node in ast.walk(modules()[module]) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in nodes for alias in node.names}


def resolve(module: str, name: str) -> Place | None:
    """Return where a name of a module is defined in the package; None if it is not."""
    if name in definitions(module):
        return module, name
    home, _, there = imports(module).get(name, "").rpartition(".")
    return resolve(home, there) if home in modules() else None


def names_in(module: str, node: ast.AST) -> Iterator[Place]:
    """Yield the names of the package that a piece of code uses."""
    for each in ast.walk(node):
        place = None
        if isinstance(each, ast.Name):
            place = resolve(module, each.id)
        elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            home = imports(module).get(each.value.id, "")
            place = resolve(home, each.attr) if home in modules() else None
        if place is not None and place[0] != "bulkstop.settings" and place[1] not in NO_USE:
            yield place


def function_of(command: str) -> ast.FunctionDef:
    """Return the function of a command."""
    node = definitions(module_of(command))["command"]
    assert isinstance(node, ast.FunctionDef)
    return node


def module_of(command: str) -> str:
    """Return the module of a command."""
    return f"bulkstop.cli.{MODULES.get(command, command)}"


@cache
def code_of(command: str) -> list[ast.AST]:
    """Return all code that a command may run."""
    body = ast.Module(function_of(command).body, [])  # its decorators only make options
    todo: list[tuple[str, ast.AST]] = [(module_of(command), body)]
    code, known = [], set[Place]()
    while todo:
        module, node = todo.pop()
        code.append(node)
        for place in set(names_in(module, node)) - known:
            known.add(place)
            todo.append((place[0], definitions(place[0])[place[1]]))
    return code


def read_by(command: str) -> set[str]:
    """Return the settings and own options that a command reads."""
    parameters = {each.arg for each in (*function_of(command).args.args, *function_of(command).args.kwonlyargs)}
    body = code_of(command)[0]
    names = {each.id for each in ast.walk(body) if isinstance(each, ast.Name)} & parameters
    return names.union(*map(read_in, code_of(command)))


def read_in(node: ast.AST) -> Iterator[str]:
    """Yield the settings and options that a piece of code reads, except checks of options alone."""
    if isinstance(node, ast.FunctionDef) and (node.name.startswith("_check") or node.name == "__post_init__"):
        return
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        yield from {str(node.slice.value)} - OPTION_SPECS.keys()
    if isinstance(node, ast.Attribute):
        owner = ast.unparse(node.value).rpartition(".")[2].lstrip("_")
        if owner == "settings" and node.attr in OPTION_SPECS.keys() | METHODS.keys():
            yield from METHODS.get(node.attr, {node.attr} | CHECKED.get(node.attr, set()))
        elif owner == "options" or (owner == "self" and node.attr not in OPTION_SPECS):
            yield node.attr
    for each in ast.iter_child_nodes(node):
        yield from read_in(each)


def options_of(command: str) -> set[str]:
    """Return the names of the options of a command."""
    click_command = commands.get_command(click.Context(commands), command)
    assert click_command is not None
    return {param.name or "" for param in click_command.params if isinstance(param, click.Option)}


def unread(command: str, options: Iterable[str]) -> set[str]:
    """Return the options that a command does not read."""
    return set(options) - read_by(command)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_options_are_read(command: str) -> None:
    """A command has no option that it does not read."""
    assert unread(command, options_of(command)) == set()


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("report", "simulate")])
def test_what_is_read_is_an_option(command: str) -> None:
    """A command has an option for each setting that it reads, except where the reading has no effect."""
    settings = {name for name in read_by(command) & OPTION_SPECS.keys() if not OPTION_SPECS[name].secret}
    assert settings - options_of(command) == READ_WITHOUT_OPTION.get(command, {}).keys()


def test_unread_option_is_found() -> None:
    """A setting of a command that does not read it is found."""
    assert unread("token", {"jti", "pace"}) == {"pace"}
    assert unread("discover", {"wanted", "quota", "grace_s", "churn"}) == {"grace_s", "churn"}


def test_headings() -> None:
    """Every option is below a heading in the help page, and no heading lists removed options."""
    options = set[str]().union(*map(options_of, COMMANDS))
    assert {name for name in options if heading_of(name) == "Other"} == set()
    assert {name for names in HEADINGS.values() for name in names} - options == set()
