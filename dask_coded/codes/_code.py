"""What a code is: three small matrices, and all that follows from them.

::

    share_i  = sum_j G[i, j] X_j          generator(operand)   encode
    result_i = sum_r V[i, r] Z_r          responses()          what computing on share i yields
    output_q = sum_r T[q, r] Z_r          targets()            what the user wants

A family states its parameters, these matrices and its recovery threshold. Whether a set of
survivors decodes, and with which weights, is linear algebra that this module does once for all.
"""

import abc
import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from dask_coded.codes._algebra import Decoder, Solver, algebra, least_norm
from dask_coded.codes._check import positive
from dask_coded.codes._registry import lookup
from dask_coded.errors import NotDecodableError, ParameterError
from dask_coded.fields import Field, field_from_name
from dask_coded.typing import Array, Grid, Shares

__all__ = ["AbstractCode", "Operation"]

#: What a worker does with a share: apply a linear map to it, multiply the shares of two operands,
#: apply a polynomial map of the code's ``degree``, or add products of shares of two operands each.
Operation = Literal["linear", "matmul", "polynomial", "batch"]


class AbstractCode(abc.ABC):
    """A linear code for distributed computation: parameters only, immutable and hashable.

    Families are final frozen dataclasses. Shapes below use N = ``n_shares``, B = blocks of an
    operand, R = unknown block products, O = wanted output blocks.
    """

    #: Name under which the family is registered and serialised.
    name: ClassVar[str]
    #: What a worker does with its share of each operand.
    operation: ClassVar[Operation]
    #: True if some set of ``recovery_threshold - 1`` shares does not decode.
    tight: ClassVar[bool] = True
    #: How decode weights are found; least norm unless a family has a sparser way.
    solver: ClassVar[Solver] = least_norm

    field: Field
    n_shares: int

    @property
    @abc.abstractmethod
    def operand_grids(self) -> tuple[Grid, ...]:
        """Block grid of each coded operand, e.g. ``((m, p), (p, n))``."""

    @property
    @abc.abstractmethod
    def output_grid(self) -> Grid:
        """Block grid of the output, e.g. ``(m, n)``."""

    @property
    @abc.abstractmethod
    def recovery_threshold(self) -> int:
        """Least K such that *every* K shares decode. Smaller sets may decode too: early sets."""

    @abc.abstractmethod
    def generator(self, operand: int = 0) -> Array:
        """Encoding matrix ``(N, B)`` of an operand."""

    @abc.abstractmethod
    def responses(self) -> Array:
        """Matrix ``(N, R)``: the result of each share in terms of the unknown block products."""

    @abc.abstractmethod
    def targets(self) -> Array:
        """Matrix ``(O, R)``: each output in terms of the unknown block products."""

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares in cyclic order; losing neighbours together is the worst case of the family.

        Placement therefore puts neighbours on different workers and hosts.
        """
        return tuple(range(self.n_shares))

    @property
    def workers(self) -> tuple[tuple[int, ...], ...]:
        """Shares that belong on one worker, because operands' shares of several are the same.

        Each is on its own unless the family says otherwise.
        """
        return tuple((share,) for share in range(self.n_shares))

    def direct(self) -> tuple[int | None, ...]:
        """For each output a share whose result *is* that output, None where none is.

        Examples
        --------
        >>> from dask_coded.codes import MDS, MatDot
        >>> MDS(4, k=3).direct(), MatDot(5, p=3).direct()
        ((0, 1, 2), (None,))
        """
        return algebra(self).direct()

    def is_decodable(self, survivors: Shares) -> bool:
        """Whether the results of `survivors` determine every output.

        Structural, not numerical: a decodable set may still amplify rounding, which
        ``decoder(survivors).amplification`` tells.

        Raises
        ------
        UnknownShareError
            If a survivor is no share of this code.

        Examples
        --------
        >>> from dask_coded.codes import MatDot
        >>> code = MatDot(7, p=3)
        >>> code.is_decodable([0, 1, 2]), code.is_decodable([0, 1, 6])
        (True, False)
        """
        return algebra(self).is_decodable(survivors)

    def decoder(self, survivors: Shares) -> Decoder:
        """Weights that turn the results of `survivors` into the outputs; cached by set.

        Raises
        ------
        NotDecodableError
            If the survivors do not determine every output.
        UnknownShareError
            If a survivor is no share of this code.

        Examples
        --------
        >>> import numpy as np
        >>> from dask_coded.codes import MatDot
        >>> code = MatDot(7, p=3)
        >>> decoder = code.decoder([2, 3, 4, 5, 6])
        >>> responses = code.responses()[list(decoder.shares)]
        >>> bool(np.allclose(decoder.weights @ responses, code.targets()))
        True
        """
        return algebra(self).decoder(survivors)

    def checker(self, survivors: Shares) -> Array:
        """Matrix ``H (c, s)``: ``H @ results == 0`` exactly when the results are consistent.

        Columns follow the survivors in ascending order; c is the number of surplus results.
        Rows are orthonormal over floats. The matrix is read-only, and cached by set.

        Raises
        ------
        UnknownShareError
            If a survivor is no share of this code.

        Examples
        --------
        >>> import numpy as np
        >>> from dask_coded.codes import MDS
        >>> check = MDS(4, k=3).checker(range(4))
        >>> for last in (6, 7):  # what share 3 returned; the sum of the others is 6
        ...     print(f"{abs(check @ [1, 2, 3, last]).max():.3f}")
        0.000
        0.500
        """
        return algebra(self).checker(survivors)

    def cheapest(self, cost: Mapping[int, float]) -> tuple[int, ...]:
        """The sufficient set whose dearest share costs least, without shares it can spare.

        Parameters
        ----------
        cost
            Cost of each candidate share, in any one unit (seconds until it arrives, bytes, ...).

        Returns
        -------
        tuple of int
            Shares in ascending order. Where the unknowns are the outputs themselves, as in all
            codes but those that cut an inner dimension or map by polynomials, the sum of costs
            is least as well.

        Raises
        ------
        NotDecodableError
            If all candidates together do not decode.
        ParameterError
            If a cost is not a number.

        Examples
        --------
        >>> from dask_coded.codes import MDS
        >>> MDS(5, k=3).cheapest({0: 9.0, 1: 1.0, 2: 2.0, 3: 5.0, 4: 3.0})
        (1, 2, 4)
        """
        unknown = [share for share, price in cost.items() if math.isnan(price)]
        if unknown:
            raise ParameterError(
                f"the cost of share {unknown[0]} is NaN; give a number, infinity for a share that "
                "is not to be had"
            )
        chosen = algebra(self).cheapest(cost)
        if chosen is None:
            raise NotDecodableError(
                f"{self!r}: the {len(cost)} candidate shares {sorted(cost)} do not decode; "
                f"any {self.recovery_threshold} of {self.n_shares} shares do. Offer more shares."
            )
        return chosen

    def placement(self, n_workers: int) -> tuple[tuple[int, ...], ...]:
        """Shares of each worker, in the order in which it should compute them.

        A share is a sub-task: a worker may hold several, and each that it finishes counts.
        Neighbours on the ring fall on different workers, and holdings differ by at most one share.

        Raises
        ------
        ParameterError
            If `n_workers` is not positive.

        Examples
        --------
        >>> from dask_coded.codes import Replication
        >>> Replication(6, k=3).placement(4)
        ((0, 4), (1, 5), (2,), (3,))
        """
        positive(n_workers=n_workers)
        ring = self.ring
        holdings: list[list[int]] = [[] for _ in range(n_workers)]
        for position, share in enumerate(ring):
            holdings[position % n_workers].append(share)
        if len(ring) % n_workers == 1 and 2 < n_workers < len(ring):
            # The ring closes on worker 0: move its last share away from its first neighbour.
            holdings[n_workers // 2].append(holdings[0].pop())
        return tuple(tuple(sorted(shares)) for shares in holdings)

    def tolerated_workers(self, n_workers: int) -> int:
        """Workers that may be lost, whichever they are, under :meth:`placement`.

        Examples
        --------
        >>> from dask_coded.codes import MDS
        >>> MDS(12, k=8).tolerated_workers(12), MDS(12, k=8).tolerated_workers(6)
        (4, 2)
        """
        sizes = sorted((len(shares) for shares in self.placement(n_workers)), reverse=True)
        spare = self.n_shares - self.recovery_threshold
        return sum(1 for lost in itertools.accumulate(sizes) if lost <= spare)

    def to_dict(self) -> dict[str, Any]:
        """``{"name": ..., "configuration": {...}}``, made of JSON types only.

        Examples
        --------
        >>> from dask_coded.codes import Replication
        >>> Replication(6, k=3).to_dict()
        {'name': 'replication', 'configuration': {'n_shares': 6, 'k': 3, 'field': 'real'}}
        """
        configuration = {
            entry.name: _to_json(getattr(self, entry.name))
            for entry in dataclasses.fields(self)  # type: ignore[arg-type]
        }
        return {"name": self.name, "configuration": configuration}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The code that :meth:`to_dict` described, of any registered family.

        Raises
        ------
        UnknownCodeError
            If no package registered that name.
        ParameterError
            If the configuration does not fit the family, or the family is not of this class.

        Examples
        --------
        >>> data = {"name": "uncoded", "configuration": {"k": 3, "field": "prime:257"}}
        >>> AbstractCode.from_dict(data)
        Uncoded(k=3, field=PrimeField(p=257))
        """
        if "name" not in data:
            raise ParameterError(
                f"a description of a code has a name and a configuration, as to_dict() gives; "
                f"got {', '.join(map(repr, data)) or 'nothing'}"
            )
        family = lookup(str(data["name"]))
        if not issubclass(family, cls):
            raise ParameterError(f"{data.get('name')!r} is a {family.__name__}, no {cls.__name__}")
        configuration = {
            key: _from_json(key, value) for key, value in data.get("configuration", {}).items()
        }
        try:
            made: Self = family(**configuration)
        except TypeError as error:
            raise ParameterError(f"configuration of {data.get('name')!r}: {error}") from error
        return made


def _to_json(value: Any) -> Any:
    if isinstance(value, AbstractCode):
        return value.to_dict()
    if isinstance(value, Field):
        return value.name
    return value


def _from_json(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return AbstractCode.from_dict(value)
    if key == "field":
        return field_from_name(str(value))
    if isinstance(value, list):
        # JSON knows no tuples, and parameters are hashable.
        return tuple(_from_json("", entry) for entry in value)
    return value
