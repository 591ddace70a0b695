from collections.abc import Sequence

import pyarrow as pa

from rivet_mysql.fields import Field

class Decoder:
    state: int
    rows: int
    wanted: int
    sequence: int
    def __init__(
        self,
        fields: Sequence[Field],
        *,
        batch_bytes: int,
        max_rows: int = ...,
        sequence: int = 0,
        deprecate_eof: bool = False,
        binary: bool = False,
    ) -> None: ...
    @property
    def error(self) -> bytes | None: ...
    def feed(self, data: bytes | bytearray | memoryview) -> int: ...
    def take(self) -> tuple[int, list[tuple[pa.Buffer | None, pa.Buffer | None, pa.Buffer]]]: ...
    def odd(self) -> list[bytes | None]: ...
