"""One thread for linear algebra; to be imported before NumPy, whose libraries look only once."""

import os

__all__: list[str] = []

for _library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"):
    os.environ[f"{_library}_THREADS"] = "1"
