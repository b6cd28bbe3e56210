"""python -m ltaug: the command line."""

from __future__ import annotations

from ltaug.cli import main

if __name__ == "__main__":
    main()
