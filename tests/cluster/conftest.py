"""Lets the tests of this folder import their helpers, in this process and in worker processes."""

import sys
from pathlib import Path

import cloudpickle

# Configuration defaults have to be known before distributed's test helpers remember them.
import dask_coded.cluster  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))

import harming
import made_groups
import watching

for helper in (harming, made_groups, watching):
    cloudpickle.register_pickle_by_value(helper)
