"""Network failures of a call, without a network."""

import asyncio
import socket

import pytest

from bulkstop.kore.network import LOOKUP_WAIT_S, look_up
from tests.virtual_time import run

GONE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


async def resolve(addresses: str | Exception, after_s: float = 0) -> str:
    """Be a name service that takes its time."""
    await asyncio.sleep(after_s)
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


class TestLookUp:
    """A name keeps its addresses while it cannot be looked up."""

    @pytest.mark.parametrize("error", [GONE, UnicodeError("label too long")])
    def test_not_there_at_first(self, error: Exception) -> None:
        """Without known addresses a look-up that fails is an OSError; the next one may succeed."""
        with pytest.raises(OSError, match=str(error.args[-1])):
            run(look_up(resolve(error), None))
        assert run(look_up(resolve("new"), None))[0] == "new"

    @pytest.mark.parametrize("error", [GONE, UnicodeError("label too long")])
    def test_gone_later(self, error: Exception) -> None:
        """The known addresses serve while the name is gone, and others as soon as they are known."""
        assert run(look_up(resolve(error), "known"))[0] == "known"
        assert run(look_up(resolve("new"), "known"))[0] == "new"

    def test_no_word_of_it(self) -> None:
        """A name service that says nothing costs a call with known addresses LOOKUP_WAIT_S; without, it is awaited."""
        assert run(look_up(resolve("late", 60), "known")) == ("known", LOOKUP_WAIT_S)
        assert run(look_up(resolve("late", 60), None)) == ("late", 60)
