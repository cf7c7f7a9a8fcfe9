"""What can go wrong, by name. Every message says what was expected, what came, where.

A `TinyvqError` is a problem that its reader can mend: the command line prints its one
or two lines without a traceback and exits with status 1. Each class also derives from
the built-in exception that a Python user would expect to catch.
"""


class TinyvqError(Exception):
    """The base of all errors that tinyvq raises on purpose."""


class ShapeError(TinyvqError, ValueError):
    """An array has another shape than the operation needs."""


class DTypeError(TinyvqError, TypeError):
    """An array has another dtype than the operation needs, or two dtypes meet."""


class GraphError(TinyvqError, RuntimeError):
    """The autograd graph cannot do what was asked of it."""


class GradientError(TinyvqError, AssertionError):
    """A backward pass disagrees with finite differences, or breaks its contract."""


class ModuleError(TinyvqError, ValueError):
    """A module tree or a state dict is not well formed."""


class NonFiniteError(TinyvqError, FloatingPointError):
    """A value that must be finite is NaN or infinite."""


class ConfigError(TinyvqError, ValueError):
    """An option is out of its range, or conflicts with another."""


class DataError(TinyvqError, ValueError):
    """A data file or folder is missing, damaged, or not what it should be."""


class CheckpointError(TinyvqError, ValueError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class RunError(TinyvqError, ValueError):
    """A run folder is not one, or cannot be used as asked."""


class FileError(TinyvqError, OSError):
    """A file or folder cannot be read or written: no space, no permission, no disk."""
