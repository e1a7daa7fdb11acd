"""The entry point of the command `bulkstop` and of `python -m bulkstop`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C during the imports below ends the process without a traceback; afterwards `main` handles it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from bulkstop.cli import main

if __name__ == "__main__":
    main()
