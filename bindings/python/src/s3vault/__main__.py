"""`python -m s3vault` runs the command."""

import sys

from s3vault_command import main

sys.exit(main())
