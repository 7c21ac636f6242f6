"""``python -m dask_coded``: what the package does from the command line."""

import sys

from dask_coded.demo import main

if __name__ == "__main__":
    sys.exit(main())
