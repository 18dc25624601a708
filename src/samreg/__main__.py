"""`python -m samreg` is `samreg`."""

import sys

from samreg.cli import main

if __name__ == "__main__":
    sys.exit(main())
