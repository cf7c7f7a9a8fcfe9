"""`python -m tinyvq` is `tinyvq`."""

import sys

from tinyvq.cli import main

sys.exit(main())
