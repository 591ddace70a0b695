"""Tries every permission that runs need, one after the other, on a small object that is deleted again."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rivet_core.api.destination import Check, IfAbsent
from rivet_core.api.errors import NotFound, PreconditionFailed, as_rivet_error
from rivet_core.engine.store import read_object

if TYPE_CHECKING:
    from rivet_core.api.destination import Capabilities, Destination, ObjectInfo

logger = logging.getLogger(__name__)

#: Names that begin so are probes. One that is still there was left by a process that died or may not delete.
PROBE_PREFIX: Final = "_rivet_doctor_"

_CONTENT: Final = b"written by rivet doctor; safe to delete\n"
_UNTRUSTWORTHY: Final = "such a store cannot be trusted with a dataset"

#: What fails without each permission.
_NEEDED_FOR: Final = {
    "put": "without it no run can write anything",
    "get": "without it runs and `rivet validate` cannot read _SUCCESS and the manifests",
    "list": "without it runs cannot prove their parts before they publish, and `rivet validate` finds nothing",
    "conditional put": "without it a run cannot publish",
    "delete": "without it old parts stay beside the new ones, and `rivet clean` removes nothing",
}


def probe(destination: Destination, claimed: Capabilities) -> Iterator[Check]:
    """Yield a check for each permission; one that is denied keeps no other from its answer.

    Args:
        claimed: what the destination's spec claims; a conditional write is tried where the store has them.
    """
    yield from _Probe(destination).run(claimed)


class _Probe:
    """One probe object and what is known about it."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._key = f"{PROBE_PREFIX}{os.urandom(4).hex()}"
        self._written: ObjectInfo | None = None
        self._readable = False
        self._settled = False

    def run(self, claimed: Capabilities) -> Iterator[Check]:
        try:
            yield self._put()
            yield self._get()
            yield self._list()
            if self._readable:  # a refusal is only told from a lost answer by reading
                yield from self._refuse_overwriting(claimed)
            yield self._delete()
        finally:
            if not self._settled:  # interrupted: the object shall not stay
                with suppress(Exception):
                    self._destination.delete(self._key)

    def _put(self) -> Check:
        try:
            self._written = self._destination.put(self._key, _CONTENT)
        except Exception as error:  # noqa: BLE001  a plugin's may be anything, and each is an answer
            return _failed("put", error)
        return Check("put", "ok", f"an object was written at {self._destination.uri}")

    def _get(self) -> Check:
        try:
            if self._written is None:
                return self._get_another()
            stored = read_object(self._destination, self._key, limit=len(_CONTENT))
        except Exception as error:  # noqa: BLE001  as above
            return _failed("get", error)
        if stored is None or stored[0] != _CONTENT:
            return Check("get", "failed", "what was read differs from what was written", _UNTRUSTWORTHY)
        self._readable = True
        return Check("get", "ok", "it was read back as it was written")

    def _get_another(self) -> Check:
        """Read a byte of whatever is there, as there is no object of our own."""
        try:
            other = next(self._destination.list(), None)
        except Exception:  # noqa: BLE001  the check of `list` says what is wrong with it
            other = None
        if other is None:
            return Check("get", "skipped", "nothing could be written or found that might be read")
        with suppress(NotFound), self._destination.open_reader(other.key, length=1) as reader:
            reader.read(1)
        return Check("get", "ok", f"{other.key} can be read")

    def _list(self) -> Check:
        try:
            listed = {info.key for info in self._destination.list(PROBE_PREFIX)}
        except Exception as error:  # noqa: BLE001  as above
            return _failed("list", error)
        if self._written is not None and self._key not in listed:
            return Check("list", "failed", "the object that was written is not listed", _UNTRUSTWORTHY)
        return Check("list", "ok", "what is there is listed")

    def _refuse_overwriting(self, claimed: Capabilities) -> Iterator[Check]:
        try:
            if not self._destination.capabilities(claimed).conditional_put:
                return
            self._destination.put(self._key, _CONTENT + b"again\n", condition=IfAbsent())
        except PreconditionFailed:
            yield Check("conditional put", "ok", "a write that must not replace anything was refused")
        except Exception as error:  # noqa: BLE001  as above
            yield _failed("conditional put", error)
        else:
            yield Check(
                "conditional put",
                "failed",
                "a conditional write replaced an object",
                "two writers could overwrite each other here",
            )

    def _delete(self) -> Check:
        """Delete the object, also one whose writing was answered by an error: it may be there all the same."""
        self._settled = True
        try:
            self._destination.delete(self._key)
        except Exception as error:  # noqa: BLE001  as above
            left = f"{self._key} is still there, delete it by hand" if self._written is not None else ""
            return _failed("delete", error, left)
        if self._written is None:
            return Check("delete", "skipped", "not refused, but nothing could be written that might be deleted")
        if self._is_there():
            return Check("delete", "failed", f"{self._key} is still there after it was deleted", _NEEDED_FOR["delete"])
        return Check("delete", "ok", "the object is gone again")

    def _is_there(self) -> bool:
        """Look after the deletion, by whichever permission there is."""
        with suppress(Exception):
            return self._destination.head(self._key) is not None
        with suppress(Exception):
            return self._key in {info.key for info in self._destination.list(PROBE_PREFIX)}
        return False


def _failed(name: str, error: Exception, *further_hints: str) -> Check:
    logger.debug("the probe's %s", name, exc_info=error)
    known = as_rivet_error(error)
    hints = (_NEEDED_FOR[name], *further_hints, known.hint)
    return Check(name, "failed", f"{known.message} [{known.code}]", "; ".join(filter(None, hints)))
