"""``python -m vpp_pipeline``."""

import sys

from vpp_pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
