"""Buffers of exactly the size that was asked for, on the C heap, where AddressSanitizer sees the byte behind them.

pyarrow rounds a buffer's room up to 64 bytes, so a decoder that writes past the end of one would go unnoticed.
"""

from __future__ import annotations

import ctypes
from itertools import count
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa

_LIBC: Final = ctypes.CDLL(None)
_LIBC.malloc.restype = _LIBC.realloc.restype = ctypes.c_void_p
_LIBC.malloc.argtypes = [ctypes.c_size_t]
_LIBC.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.free.argtypes = [ctypes.c_void_p]
_LIBC.free.restype = None

_next_fill = count()


class ExactBuffer:
    """Stands for a resizable ``pa.Buffer``, and moves whenever its size changes.

    Each is filled with another byte, so that what a decoder hands out without having written it differs between runs.
    """

    def __init__(self, size: int, *, resizable: bool = True) -> None:
        assert resizable
        self.size = size
        self.address = allocate(size)
        self._fill = (0x5A, 0xA5, 0x00, 0xFF, 0x33)[next(_next_fill) % 5]
        ctypes.memset(self.address, self._fill, size)

    def resize(self, size: int, shrink_to_fit: bool = True) -> None:
        """Change the size; what is added has no certain value, and there is never room to spare."""
        self.address = _LIBC.realloc(self.address, max(size, 1))
        if size > self.size:
            ctypes.memset(self.address + self.size, self._fill, size - self.size)
        self.size = size

    def __del__(self) -> None:
        release(self.address)


def allocate(size: int) -> int:
    """Return the address of new memory."""
    address = _LIBC.malloc(max(size, 1))
    assert address, "no memory"
    return int(address)


def release(address: int) -> None:
    """Free memory from ``allocate``."""
    _LIBC.free(address)


def exact_copy(data: bytes) -> memoryview:
    """Return the bytes in memory that ends with them; a ``bytes`` object has one more."""
    buffer = ExactBuffer(len(data))
    ctypes.memmove(buffer.address, data, len(data))
    view = (ctypes.c_char * len(data)).from_address(buffer.address)
    view.owner = buffer  # type: ignore[attr-defined]
    return memoryview(view)


def exact_pyarrow() -> Any:
    """Return what a decoder needs of the module ``pyarrow``, with exact buffers."""
    return SimpleNamespace(allocate_buffer=ExactBuffer)


def as_arrow(buffer: Any) -> Any:
    """Return a buffer of either sort as pyarrow's."""
    return pa.foreign_buffer(buffer.address, buffer.size, buffer) if isinstance(buffer, ExactBuffer) else buffer
