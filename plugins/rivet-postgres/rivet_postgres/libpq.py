"""Finds the functions that the decoder calls in the libpq that psycopg has already loaded."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

_EXTENSION_MODULES: Final = {"binary": "psycopg_binary.pq", "c": "psycopg_c.pq"}


@dataclass(frozen=True)
class Libpq:
    """Addresses of libpq's functions."""

    get_copy_data: int
    free: int
    consume_input: int
    socket: int


class NotNative(Exception):
    """Native decoding is not possible here; the message says why."""


@cache
def find_libpq() -> Libpq:
    """Return the addresses in psycopg's own libpq, whether it is bundled, the system's, or linked into psycopg.

    Raises:
        NotNative: psycopg shows none.
    """
    library = _library()
    try:
        return Libpq(
            _address(library.PQgetCopyData),
            _address(library.PQfreemem),
            _address(library.PQconsumeInput),
            _address(library.PQsocket),
        )
    except AttributeError:
        raise NotNative("psycopg's libpq does not show its functions") from None


def is_plain(pgconn: Any) -> bool:
    """Whether the server's messages are on a connection's socket as they are: there is neither TLS nor GSS encryption.

    Args:
        pgconn: of psycopg.
    """
    return not pgconn.ssl_in_use and not _is_gss_encrypted(pgconn.pgconn_ptr)


def _is_gss_encrypted(connection: int) -> bool:
    """Whether it is, or this libpq does not tell."""
    try:
        function = _library().PQgssEncInUse
    except AttributeError:
        return True
    function.argtypes = [ctypes.c_void_p]
    return bool(function(connection))


@cache
def require_native() -> None:
    """Check that this installation can decode natively.

    Raises:
        NotNative: it cannot.
    """
    if sys.byteorder != "little":
        raise NotNative("the native decoder knows little-endian machines only")
    try:
        import_module("rivet_postgres._decoder")
    except ImportError:
        raise NotNative("rivet-postgres was installed without its native decoder") from None
    find_libpq()


def _library() -> ctypes.CDLL:
    from psycopg import pq

    try:
        if pq.__impl__ in _EXTENSION_MODULES:
            # Already loaded; a name is looked up in the module and in everything that it was linked with.
            path = import_module(_EXTENSION_MODULES[pq.__impl__]).__file__
            return ctypes.CDLL(path)
        library = import_module("psycopg.pq._pq_ctypes").pq
    except (ImportError, OSError, AttributeError) as error:
        raise NotNative(f"psycopg's libpq was not found ({type(error).__name__})") from None
    if not isinstance(library, ctypes.CDLL):
        raise NotNative("psycopg's libpq was not found")
    return library


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # a function of a CDLL
    if address is None:
        raise NotNative("psycopg's libpq was not found")
    return address
