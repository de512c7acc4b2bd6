"""``python -m vpp_pipeline``."""

import sys

from vpp_pipeline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
