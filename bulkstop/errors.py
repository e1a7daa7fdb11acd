"""Why a run cannot go on.

    BulkstopError                 one line: what is wrong, where, what to do
    ├── SettingsError             an option, a variable or a profile key is wrong
    ├── InputError                a list cannot be read to its end
    ├── CredentialsError          no token can be had
    ├── OutputError               a result line cannot be written
    ├── QuotaError                calls cannot be counted
    └── GuardError                a guard ended the run

A campaign that could not be stopped is none of these: it is a Result.
"""


class BulkstopError(Exception):
    """The run cannot go on; the message is one line that a user can act on."""


class SettingsError(BulkstopError):
    """A setting is missing or wrong; the message names the option."""


class InputError(BulkstopError):
    """A list cannot be read to its end; the message names the file and the line."""


class CredentialsError(BulkstopError):
    """No token can be had; the message never holds a secret."""


class OutputError(BulkstopError):
    """A result line cannot be written; the message names the file."""


class QuotaError(BulkstopError):
    """The quota store cannot be used; the message names it."""


class GuardError(BulkstopError):
    """A guard ended the run; the message names the option, what was counted and the first failure."""
