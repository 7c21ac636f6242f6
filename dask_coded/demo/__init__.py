"""The main job on real input: principal components, on a cluster that freezes under it.

    photographs --> patches --> matrix A on ten workers --> V = qr(A.T @ (A @ V)), twenty times
    _patches.py                 _arms.py: encoded and plain     _power.py

Each arm has a cluster of its own and meets the same faults. `_check.py` compares with
numpy.linalg, `_table.py` and `_picture.py` show what happened.
"""

from dask_coded.demo._command import main as main

__all__ = ["main"]
