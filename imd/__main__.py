"""``python -m imd`` is ``imd``."""

import sys

from imd.cli import main

sys.exit(main())
