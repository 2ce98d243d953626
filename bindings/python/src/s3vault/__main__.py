"""`python -m s3vault`: the command."""

import sys

from .command import main

sys.exit(main())
