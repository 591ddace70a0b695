"""Every error that Rivet raises on purpose.

::

    RivetError                      R000  exit 1
    ├── UsageError                  R101  exit 2   wrong flags or arguments
    ├── ConfigError                 R201  exit 2   rivet.yaml, environment, placeholders
    ├── PluginError                 R111  exit 2   a plugin cannot be loaded
    │   └── MissingPlugin           R112  exit 2   no installed plugin has this type
    ├── SourceError                 R301  exit 1   the database failed
    │   ├── SourceUnavailable       R302  exit 1   cannot connect, connection lost
    │   ├── SourceDenied            R303  exit 2   wrong user, password or grant
    │   ├── QueryError              R304  exit 2   the database refuses the query, missing table
    │   ├── TypeMappingError        R305  exit 2   a column has no lossless mapping
    │   ├── ValueRefused            R306  exit 3   a value that cannot be written without loss
    │   ├── DriverMissing           R307  exit 2   the database driver is not installed
    │   ├── SchemaDrift             R308  exit 4   the columns differ from those of the last run
    │   └── SnapshotLost            R309  exit 1   the one view of a run is gone
    ├── DestinationError            R401  exit 1   the store failed
    │   ├── NotFound                R402  exit 1
    │   ├── PermissionDenied        R403  exit 1
    │   ├── CredentialsExpired      R404  exit 1
    │   ├── PreconditionFailed      R405  exit 5   another writer was first
    │   ├── BucketMissing           R406  exit 2
    │   ├── Transient               R407  exit 1   worth a retry
    │   ├── IntegrityError          R408  exit 3   the store's checksum differs from ours
    │   ├── InvalidKey              R409  exit 2   a key that no plugin may see
    │   └── StorageFull             R410  exit 1
    ├── FormatError                 R501  exit 1   data that the format cannot hold or read
    ├── TrustError                  R601  exit 3   the prefix does not keep its promise
    │   ├── ManifestInvalid         R602  exit 3
    │   └── QualityFailed           R603  exit 3   the rows fail a quality gate
    ├── SafetyError                 R701  exit 5   refused by a safety gate
    │   ├── LeaseHeld               R702  exit 5
    │   ├── LostRace                R703  exit 5   another writer published first
    │   └── PlanRefused             R704  exit 5   a plan that was changed or is out of date
    ├── StateError                  R801  exit 1   the state database failed
    └── Interrupted                 R901  exit 130

A message and a hint never hold a secret: both pass the redactor (``api.secret``) when they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from rivet_core.api.secret import redact

__all__ = [
    "BucketMissing",
    "ConfigError",
    "CredentialsExpired",
    "DestinationError",
    "DriverMissing",
    "FormatError",
    "IntegrityError",
    "Interrupted",
    "InvalidKey",
    "LeaseHeld",
    "LostRace",
    "ManifestInvalid",
    "MissingPlugin",
    "NotFound",
    "PermissionDenied",
    "PlanRefused",
    "PluginError",
    "PreconditionFailed",
    "QualityFailed",
    "QueryError",
    "RivetError",
    "SafetyError",
    "SchemaDrift",
    "SnapshotLost",
    "SourceDenied",
    "SourceError",
    "SourceUnavailable",
    "StateError",
    "StorageFull",
    "Transient",
    "TrustError",
    "TypeMappingError",
    "UsageError",
    "ValueRefused",
    "as_rivet_error",
]

_ANOTHER_WRITER: Final = "another writer was first: look who else writes there, then run again"


class RivetError(Exception):
    """Base of all errors with a stable code, a message and a hint.

    Args:
        message: what happened, one sentence, for the reader who has the problem.
        hint: what to do next; may be empty.
        code: overrides the class's code, for an error that deserves one of its own.
    """

    code: str = "R000"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self._message = message
        self._hint = hint
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The message, free of every registered secret."""
        return redact(self._message)

    @property
    def hint(self) -> str:
        """The hint, free of every registered secret."""
        return redact(self._hint)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}: {self.message})"


class UsageError(RivetError):
    """Wrong flags or arguments."""

    code = "R101"
    exit_code = 2


class ConfigError(RivetError):
    """The configuration file, the environment that it names or a placeholder is wrong."""

    code = "R201"
    exit_code = 2


class PluginError(RivetError):
    """A plugin cannot be loaded, or two plugins claim the same name."""

    code = "R111"
    exit_code = 2


class MissingPlugin(PluginError):
    """No installed plugin has the type that was asked for."""

    code = "R112"


class SourceError(RivetError):
    """The source database failed."""

    code = "R301"


class SourceUnavailable(SourceError):
    """The source cannot be reached, or the connection was lost."""

    code = "R302"


class SourceDenied(SourceError):
    """The source refuses the user, the password or the access."""

    code = "R303"
    exit_code = 2


class QueryError(SourceError):
    """The source refuses the query: syntax, a missing table or column, two statements."""

    code = "R304"
    exit_code = 2


class TypeMappingError(SourceError):
    """At least one column has no lossless mapping; names all of them and the override to write.

    Args:
        overrides: a type that would do for each of these columns, by the column's name.
    """

    code = "R305"
    exit_code = 2

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, overrides: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.overrides = dict(overrides or {})


class ValueRefused(SourceError):
    """A value cannot be written without loss: out of range, wrong class, too large."""

    code = "R306"
    exit_code = 3


class DriverMissing(SourceError):
    """The Python driver of the database is not installed."""

    code = "R307"
    exit_code = 2


class SchemaDrift(SourceError):
    """The columns differ from those of the last run, and the export refuses that; nothing was read."""

    code = "R308"
    exit_code = 4


class SnapshotLost(SourceError):
    """The view that all rows of a run are read in is gone, again after the run has started over with a new one."""

    code = "R309"


class DestinationError(RivetError):
    """The destination failed. Plugins map every SDK error to this family, once."""

    code = "R401"


class NotFound(DestinationError):
    """There is no object at the key."""

    code = "R402"


class PermissionDenied(DestinationError):
    """The destination refuses the access."""

    code = "R403"


class CredentialsExpired(DestinationError):
    """The credential was valid once; the provider is asked for a fresh one."""

    code = "R404"


class PreconditionFailed(DestinationError):
    """A conditional write lost: the object is there already or has another version."""

    code = "R405"
    exit_code = 5

    def __init__(self, message: str, *, hint: str = _ANOTHER_WRITER, code: str | None = None) -> None:
        super().__init__(message, hint=hint, code=code)


class BucketMissing(DestinationError):
    """The bucket or container does not exist."""

    code = "R406"
    exit_code = 2


class Transient(DestinationError):
    """A failure worth a retry.

    Args:
        retry_after: seconds that the store asked to wait, if it did.
    """

    code = "R407"

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after


class IntegrityError(DestinationError):
    """The store's checksum, or the bytes read back, differ from what was written."""

    code = "R408"
    exit_code = 3


class InvalidKey(DestinationError):
    """A key or a path that is refused before any plugin sees it."""

    code = "R409"
    exit_code = 2


class StorageFull(DestinationError):
    """The destination has no room left: disk full, quota exceeded."""

    code = "R410"


class FormatError(RivetError):
    """The data cannot be encoded, or a part cannot be read back."""

    code = "R501"


class TrustError(RivetError):
    """A prefix does not keep the promise that its marker makes."""

    code = "R601"
    exit_code = 3


class ManifestInvalid(TrustError):
    """The bytes are no valid manifest of a version that this release reads."""

    code = "R602"


class QualityFailed(TrustError):
    """The rows fail a quality gate; nothing was published."""

    code = "R603"


class SafetyError(RivetError):
    """Refused by a safety gate; nothing was changed."""

    code = "R701"
    exit_code = 5


class LeaseHeld(SafetyError):
    """Another living process runs this export."""

    code = "R702"


class LostRace(SafetyError):
    """Another writer published at this prefix first; its dataset stays certified."""

    code = "R703"


class PlanRefused(SafetyError):
    """A plan was changed, is out of date, or was applied before; nothing was changed."""

    code = "R704"


class StateError(RivetError):
    """The state database failed."""

    code = "R801"


class Interrupted(RivetError):
    """The run was stopped by a signal."""

    code = "R901"
    exit_code = 130


def as_rivet_error(error: BaseException) -> RivetError:
    """Return a ``RivetError`` as it is, and for any other exception, which nobody has foreseen, R999 with exit 1."""
    if isinstance(error, RivetError):
        return error
    message = f"unexpected {type(error).__name__}: {error}"
    return RivetError(message, hint="repeat the command with --debug to see where", code="R999")
