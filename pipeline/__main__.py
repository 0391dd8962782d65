"""``python -m pipeline`` is the command ``petbind``."""

import sys

from pipeline.cli.main import main

sys.exit(main())
