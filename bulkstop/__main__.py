"""Run `python -m bulkstop`."""

from bulkstop.cli import main

if __name__ == "__main__":
    main()
