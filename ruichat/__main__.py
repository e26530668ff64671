"""`python -m ruichat`: the command line where launchers want a module to start."""

import sys

from ruichat.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
