"""``python3 -m dropdeploy`` is the same command as ``dropdeploy``."""

import sys

from dropdeploy.cli import main

if __name__ == "__main__":
    sys.exit(main())
