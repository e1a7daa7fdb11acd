"""Found by the interpreters that tests start: they note there, too, when an event loop is held for too long."""

from tests.stalls.monitor import install

install()
