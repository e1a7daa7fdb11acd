"""The errors that end a run.

    BulkstopError                 one line: what is wrong, where, what to do
    ├── SettingsError             an option, a variable or a profile key is wrong
    ├── InputError                a list cannot be read completely
    ├── CredentialsError          no token can be obtained
    ├── OutputError               a result line cannot be written
    ├── QuotaError                calls cannot be counted
    ├── ListError                 a list of the service cannot be read completely
    ├── GuardError                a guard ended the run
    │   └── RefusedError          all calls for an account's stream and type were refused
    └── NotDoneError              a run has ended, and not all of it is done; only `check()` raises it

A campaign that could not be stopped is not an error: it is a Result. `unforeseen` describes any other exception.
"""

import errno
import os

from bulkstop.naming import name_setting

NO_THREAD = "no thread can be started; raise the limit on processes (ulimit -u, pids.max), or free memory"
"""The message when the system refuses to start another thread."""


class BulkstopError(Exception):
    """The run cannot continue; the message is one line that a user can act on.

    If the error is about a setting, `setting` is its name, and the message begins with the name that its reader knows.
    """

    def __init__(self, message: str = "", *, setting: str | None = None) -> None:
        super().__init__(message if setting is None else f"{name_setting(setting)}{message}")
        self.setting = setting


class SettingsError(BulkstopError):
    """A setting is missing or wrong; the message names it."""


class InputError(BulkstopError):
    """A list cannot be read completely; the message names the file and the line."""


class CredentialsError(BulkstopError):
    """No token can be obtained; the message never contains a secret."""


class OutputError(BulkstopError):
    """A result line cannot be written; the message names the file."""


class QuotaError(BulkstopError):
    """The quota store cannot be used; the message names it."""


class ListError(BulkstopError):
    """A list of the service cannot be read completely; the message names the list and what was received instead."""


class NotDoneError(BulkstopError):
    """A run has ended, and not all of it is done; the message counts the rest."""


class GuardError(BulkstopError):
    """A guard ended the run; the message names the setting, the count and the first failure."""


class RefusedError(GuardError):
    """All calls for an account's stream and type were refused; the message names these and the likely cause."""


def unforeseen(error: BaseException) -> str:
    """Return one line that names an unexpected exception and the place where it was raised.

    The line omits the exception's text, which could contain a secret. A lack of file descriptors or threads is named as
    such, even where it occurred during an import.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "no more files can be opened: raise the limit on open files (ulimit -n) to 64 or more"
    if is_short_of_threads(error):
        return NO_THREAD
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""  # noqa: PTH119 - a name, not a file
    return f"internal error, please report it: {type(error).__name__}{where}"


def is_short_of_threads(error: BaseException) -> bool:
    """Return whether the system refused to start another thread."""
    return isinstance(error, RuntimeError) and "start new thread" in str(error)
