"""`python -m s3vault` runs the command."""

import sys

from .command import main

sys.exit(main())
