"""Every error and warning of the package: one small tree.

A message says what was asked, what was found, and what to do about it.
Each class is also the built-in that a caller would naturally catch.
"""

__all__ = [
    "AmplificationWarning",
    "BlockShapeError",
    "CodedError",
    "DeviceError",
    "DeviceMemoryError",
    "EmulationError",
    "FieldRangeError",
    "InjectedFaultError",
    "InstallationError",
    "NotDecodableError",
    "ParameterError",
    "SharedHostWarning",
    "TrustError",
    "UnknownCodeError",
    "UnknownShareError",
    "UnsupportedAttributeError",
    "UnsupportedDtypeError",
    "UnsupportedOperationError",
    "UnverifiableError",
    "WeightsError",
    "WrongResultError",
    "WrongResultWarning",
]


class CodedError(Exception):
    """Base of every error that dask_coded raises on purpose."""


class ParameterError(CodedError, ValueError):
    """A code, field or option was asked for with parameters that cannot exist."""


class UnknownCodeError(CodedError, ValueError):
    """A code name is in no registry, built in or of another package."""


class UnknownShareError(CodedError, ValueError):
    """A share index lies outside ``0 .. n_shares - 1`` or is no integer."""


class NotDecodableError(CodedError, ValueError):
    """The survivors do not determine the outputs."""


class BlockShapeError(CodedError, ValueError):
    """Blocks, weights or operands have shapes that do not fit together."""


class WeightsError(CodedError, ValueError):
    """Weights hold NaN or infinity, or are no matrix."""


class FieldRangeError(CodedError, OverflowError):
    """Values lie outside what a prime field, or an integer type, represents exactly."""


class UnsupportedDtypeError(CodedError, TypeError):
    """A dtype has no exact or accurate arithmetic in the field that was asked for."""


class UnsupportedOperationError(CodedError, TypeError):
    """The operation is right, but not for this code, field or collection."""


class UnsupportedAttributeError(UnsupportedOperationError, AttributeError):
    """A collection has nothing of this name, for it does much less than an array."""


class DeviceError(CodedError, RuntimeError):
    """A GPU, or the library that drives it, is missing; or arrays lie on different ones."""


class DeviceMemoryError(CodedError, MemoryError):
    """The memory of a GPU does not hold what was asked for."""


class WrongResultError(CodedError, ArithmeticError):
    """Results of a group disagree by more than rounding, and cannot be put right."""


class UnverifiableError(CodedError, ArithmeticError):
    """Too few results are left to tell whether they are right."""


class TrustError(CodedError, RuntimeError):
    """Private data would have to go to a worker that is not trusted."""


class EmulationError(CodedError, RuntimeError):
    """An emulated cluster could not be started, confined or commanded."""


class InjectedFaultError(CodedError, RuntimeError):
    """A task was told to fail by the faults under test."""


class InstallationError(CodedError, ImportError):
    """A process of the cluster cannot import the package, or what it needs."""


class AmplificationWarning(UserWarning):
    """A decoder may amplify rounding beyond the tolerance that was asked for."""


class SharedHostWarning(UserWarning):
    """One machine is given more shares of a private product than may be put together."""


class WrongResultWarning(UserWarning):
    """A wrong result was found, and its group decoded without it."""
