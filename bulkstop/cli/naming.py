"""What a setting is called on a command line."""

WITHOUT_OPTION = frozenset({"token", "client_secret", "proxy_password"})
"""Secrets: a command line is seen by everybody on the machine."""


def spell_option(name: str, value: str | bool | None = None) -> str:
    """Write a setting as an option, `--order priority`; one that has none as its variable."""
    if name in WITHOUT_OPTION:
        return f"BULKSTOP_{name.upper()}"
    option = "-o" if name == "output" else f"--{name.removesuffix('_s').replace('_', '-')}"
    return f"{option} {value}" if isinstance(value, str) else option
