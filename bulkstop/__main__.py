"""The way in: the command `bulkstop`, and `python -m bulkstop`."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C during the imports that follow ends the process, without a traceback; `main` sees to it from then on.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from bulkstop.cli import main

if __name__ == "__main__":
    main()
