"""Lets the tests of this folder import their helper."""

import sys
from pathlib import Path

# Configuration defaults have to be known before distributed's test helpers remember them.
import dask_coded.cluster  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
