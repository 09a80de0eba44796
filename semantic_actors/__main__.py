"""`python -m semantic_actors` is the `semantic-actors` command."""

import sys

from semantic_actors.daemon.main import main

sys.exit(main())
