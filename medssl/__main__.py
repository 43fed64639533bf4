"""``python -m medssl`` is the console command."""

import sys

from medssl.cli import main

sys.exit(main())
