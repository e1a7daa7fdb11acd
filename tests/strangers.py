"""Files of another user: real ones if the tests run as root, otherwise this user is treated as another."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65_534
IS_ROOT = os.geteuid() == 0
Give = Callable[[Path], None]


def make_giver(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Return what makes a file another user's; where only root may do that, all files are that from then on."""

    def give(path: Path) -> None:
        if IS_ROOT:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    return give
