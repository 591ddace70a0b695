# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: embedsignature=False
"""Decodes the rows of the MySQL protocol, text or binary, without the GIL, into buffers that pyarrow allocates.

Every length is checked against the packet that it is in. A value that is not in the one form which servers send is never
interpreted here: its row is handed out as it came, for slower code to decide.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import pyarrow as pa

from rivet_mysql.fields import DamagedStream

# As in fields.py.
cdef enum:
    INTEGER = 0
    UNSIGNED = 1
    BOOL = 2
    DECIMAL = 3
    DATE = 4
    TIMESTAMP = 5
    DURATION = 6
    UUID = 7
    DOUBLE = 8
    TEXT = 9
    BYTES = 10

cdef enum:
    TEXT_FORM = 0
    INT8_FORM = 1
    INT16_FORM = 2
    INT32_FORM = 3
    INT64_FORM = 4
    UINT8_FORM = 5
    UINT16_FORM = 6
    UINT32_FORM = 7
    UINT64_FORM = 8
    DOUBLE_FORM = 9
    DATE_FORM = 10
    DATETIME_FORM = 11
    TIME_FORM = 12

cdef enum:
    MORE = 0
    FULL = 1
    ODD = 2
    END = 3
    FAILED = 4

# What became of a row or a packet.
cdef enum:
    DONE = 0
    NO_ROOM = 1
    UNUSUAL = 2
    DAMAGED = 3
    NO_MEMORY = 4
    INCOMPLETE = 5

cdef enum:
    NULL_MARK = 0xFB
    TWO_BYTES = 0xFC
    THREE_BYTES = 0xFD
    EIGHT_BYTES = 0xFE
    ERROR_MARK = 0xFF
    END_MARK = 0xFE
    HEADER_BYTES = 4
    NULLS_AT = 2  # the bit of the first column in a binary row
    MAX_PAYLOAD = 0xFFFFFF

cdef enum:
    FIRST_ROWS = 1024
    GROWTH = 4
    FIRST_TEXT_BYTES = 16  # of a value, until some are known
    SHORT_BYTES = 16
    NO_DIGIT = 0xFF

cdef int64_t MAX_ROW_BYTES = (1 << 30) + (1 << 24)  # the largest max_allowed_packet, and what is around it
cdef int64_t MAX_BATCH_BYTES = 1 << 30  # offsets have 31 bits, and one row more is added
cdef int64_t MAX_HOURS = 999999
cdef double FLOAT_MAX = 3.4028234663852886e38
cdef uint64_t HIGH_BITS = 0x8080808080808080ULL
cdef int64_t MICROS_PER_SECOND = 1000000
cdef int64_t MICROS_PER_DAY = 86400000000

cdef struct Col:
    int kind
    int width
    bint nullable
    int precision
    int scale
    uint64_t max_bytes
    bint zero_is_null
    int form
    int size  # of a value in its row; 0 where it has a length in front
    bint plain  # a value is the same in its row and in Arrow
    uint8_t* validity
    uint8_t* data
    int32_t* offsets
    int64_t capacity  # of ``data``, for TEXT and BYTES


cdef class Decoder:
    """Turns the packets behind the column definitions of a result into columns.

    Args:
        fields: the columns (``fields.Field``).
        batch_bytes: bound of a batch in bytes of Arrow data; a larger row comes alone.
        max_rows: bound of a batch in rows.
        sequence: the number that the next packet must have.
        deprecate_eof: the result ends with an OK packet instead of an EOF packet.
        binary: the rows are of the binary protocol; of the text protocol, each field has the form ``TEXT``.
    """

    cdef Col* cols
    cdef int count
    cdef list buffers  # of each column: [validity, offsets, data]
    cdef int64_t batch_bytes, overhead, row_bits, max_rows
    cdef int64_t capacity, next_capacity, rows_taken
    cdef list text_bytes  # of each column: what a row took in the last batch
    cdef bint allocated, deprecate_eof, binary
    cdef int64_t head_bytes  # of a binary row: what stands in front of its values
    cdef readonly int state
    cdef readonly int64_t rows
    cdef readonly int64_t wanted
    cdef readonly int sequence
    cdef bytes packet
    cdef const char* problem

    def __cinit__(self, fields, *, batch_bytes, max_rows=1 << 20, sequence=0, deprecate_eof=False, binary=False):
        cdef int i
        cdef Col* col
        fields = list(fields)
        self.count = len(fields)
        self.cols = <Col*>calloc(max(self.count, 1), sizeof(Col))
        if self.cols == NULL:
            raise MemoryError
        self.batch_bytes = min(<int64_t>batch_bytes, MAX_BATCH_BYTES)
        self.sequence = sequence & 0xFF
        self.deprecate_eof = deprecate_eof
        self.binary = binary
        self.head_bytes = 1 + (self.count + NULLS_AT + 7) // 8
        self.state = MORE
        self.buffers = []
        self.text_bytes = []
        for i in range(self.count):
            field = fields[i]
            col = &self.cols[i]
            col.kind = field.kind
            col.width = field.width
            col.nullable = field.nullable
            col.precision = field.precision
            col.scale = field.scale
            col.max_bytes = field.max_bytes
            col.zero_is_null = field.zero_is_null
            col.form = field.form
            _check(col, binary)
            self.row_bits += col.nullable
            self.overhead += 2
            if col.kind >= TEXT:
                self.row_bits += 32
                self.overhead += 4
            elif col.kind == BOOL:
                self.row_bits += 1
            else:
                self.row_bits += 8 * col.width
            self.text_bytes.append(FIRST_TEXT_BYTES)
        self.max_rows = max(1, min(<int64_t>max_rows, 8 * self.batch_bytes // max(self.row_bits, 1)))
        self.next_capacity = min(FIRST_ROWS, self.max_rows)

    def __dealloc__(self):
        free(self.cols)

    @property
    def error(self):
        """The payload of the server's error packet; only in the state ``FAILED``."""
        return self.packet if self.state == FAILED else None

    def feed(self, data):
        """Decode whole packets until the input, the batch or the result is at its end; return the bytes consumed.

        The state then tells what to do: ``MORE`` feed what was not consumed again with bytes behind it, of which there
        must be ``wanted`` in all; ``FULL`` call ``take``; ``ODD`` call ``take`` and then ``odd``; ``END`` and
        ``FAILED`` call ``take`` for the last time.

        Raises:
            DamagedStream: the bytes break the protocol.
            MemoryError: no room for the values.
        """
        cdef Py_buffer view
        cdef int64_t used = 0
        cdef int result
        if self.state != MORE:
            raise RuntimeError("the decoder waits for take or odd, or is at its end")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while self.state == MORE:
                if not self.allocated:
                    self._allocate()
                with nogil:
                    result = self._plain(<const uint8_t*>view.buf, view.len, &used)
                if result == DONE:
                    continue
                if result == INCOMPLETE:
                    break
                if result == NO_MEMORY:
                    raise MemoryError
                if result == DAMAGED:
                    raise DamagedStream(self.problem.decode())
                used += self._large(<const uint8_t*>view.buf + used, view.len - used)
                if self.wanted:
                    break
            return used
        finally:
            PyBuffer_Release(&view)

    def take(self):
        """Return the rows decoded since the last call: their number, and ``(validity, offsets, data)`` of each column.

        The parts are pyarrow buffers, or ``None`` for one that the column does not have.
        """
        cdef int i
        cdef Col* col
        cdef int64_t rows = self.rows, used
        columns = []
        if self.allocated:
            for i in range(self.count):
                col = &self.cols[i]
                validity, offsets, values = self.buffers[i]
                if validity is not None:
                    validity = _cut(validity, (rows + 7) >> 3)
                if col.kind >= TEXT:
                    used = col.offsets[rows]
                    offsets = _cut(offsets, 4 * (rows + 1))
                    if rows:
                        self.text_bytes[i] = used // rows + 1
                elif col.kind == BOOL:
                    used = (rows + 7) >> 3
                else:
                    used = col.width * rows
                columns.append((validity, offsets, _cut(values, used)))
        if rows == self.capacity:
            self.next_capacity = min(self.max_rows, GROWTH * self.capacity)
        elif rows:
            self.next_capacity = max(1, min(self.max_rows, rows + rows // 4 + 1))
        self.buffers = []
        self.allocated = False
        self.rows = 0
        if self.state == FULL:
            self.state = MORE
        return rows, columns

    def odd(self):
        """Return the fields of the row that this decoder does not take, as they came, ``None`` for NULL.

        Raises:
            DamagedStream: the row breaks the protocol.
        """
        cdef const uint8_t* p
        cdef const uint8_t* end
        cdef const uint8_t* nulls = NULL
        cdef uint64_t length = 0
        cdef int i, result
        if self.state != ODD or self.rows:
            raise RuntimeError("there is no odd row, or rows before it have not been taken")
        p = <const uint8_t*>PyBytes_AS_STRING(self.packet)
        end = p + len(self.packet)
        if self.binary:  # the head is whole, or the row would not be odd but damaged
            nulls = p + 1
            p += self.head_bytes
        values = []
        for i in range(self.count):
            result = _find(&self.cols[i], i, nulls, &p, end, &length)
            if result == DAMAGED:
                raise DamagedStream("a value is longer than its packet, or of an unknown form")
            if result == UNUSUAL:
                values.append(None)
                continue
            values.append(PyBytes_FromStringAndSize(<const char*>p, <Py_ssize_t>length))
            p += length
        if p != end:
            raise DamagedStream("a row has more values than the result has columns")
        self.packet = None
        self.state = MORE
        return values

    cdef _allocate(self):
        cdef int i
        cdef Col* col
        cdef int64_t capacity = self.next_capacity
        self.buffers = []
        for i in range(self.count):
            col = &self.cols[i]
            validity = offsets = None
            if col.nullable:
                validity = pa.allocate_buffer((capacity + 7) >> 3, resizable=True)
                col.validity = <uint8_t*><uintptr_t>validity.address
            if col.kind >= TEXT:
                offsets = pa.allocate_buffer(4 * (capacity + 1), resizable=True)
                col.offsets = <int32_t*><uintptr_t>offsets.address
                col.offsets[0] = 0
                col.capacity = min(self.batch_bytes, capacity * <int64_t>self.text_bytes[i] * 9 // 8 + 64)
                values = pa.allocate_buffer(col.capacity, resizable=True)
            elif col.kind == BOOL:
                values = pa.allocate_buffer((capacity + 7) >> 3, resizable=True)
            else:
                values = pa.allocate_buffer(capacity * col.width, resizable=True)
            col.data = <uint8_t*><uintptr_t>values.address
            self.buffers.append((validity, offsets, values))
        self.capacity = capacity
        self.allocated = True

    cdef int _grow(self, int index, int64_t needed) noexcept nogil:
        """Make room for ``needed`` bytes of a column's values."""
        cdef Col* col = &self.cols[index]
        with gil:
            try:
                values = self.buffers[index][2]
                values.resize(max(needed, 2 * col.capacity))
                col.data = <uint8_t*><uintptr_t>values.address
                col.capacity = values.size
            except MemoryError:
                return NO_MEMORY
        return DONE

    cdef int _plain(self, const uint8_t* data, int64_t size, int64_t* used) noexcept nogil:
        """Decode packets until something else is to be done than to decode the next one.

        ``UNUSUAL`` stands for a packet that goes on in the next one.
        """
        cdef const uint8_t* p
        cdef int64_t length
        cdef int result
        self.wanted = 0
        while self.state == MORE:
            p = data + used[0]
            if size - used[0] < HEADER_BYTES:
                self.wanted = HEADER_BYTES
                return INCOMPLETE
            length = p[0] | (<int64_t>p[1] << 8) | (<int64_t>p[2] << 16)
            if p[3] != self.sequence:
                self.problem = "a packet is missing, or the server has shut down"
                return DAMAGED
            if length == MAX_PAYLOAD:
                return UNUSUAL
            if size - used[0] < HEADER_BYTES + length:
                self.wanted = HEADER_BYTES + length
                return INCOMPLETE
            result = self._packet(p + HEADER_BYTES, length)
            if result == NO_ROOM:
                self.state = FULL
                return DONE
            if result != DONE:
                return result
            used[0] += HEADER_BYTES + length
            self.sequence = (self.sequence + 1) & 0xFF
        return DONE

    cdef int64_t _large(self, const uint8_t* data, int64_t size) except -1:
        """Decode a packet that goes on in others; return the bytes consumed, none while it is not complete."""
        cdef int64_t at = 0, total = 0, length = MAX_PAYLOAD
        cdef int sequence = self.sequence
        cdef uint8_t* to
        cdef int result
        while length == MAX_PAYLOAD:
            if size - at < HEADER_BYTES:
                self.wanted = at + HEADER_BYTES
                return 0
            length = data[at] | (<int64_t>data[at + 1] << 8) | (<int64_t>data[at + 2] << 16)
            if data[at + 3] != sequence:
                raise DamagedStream("a packet is missing, or the server has shut down")
            total += length
            if total > MAX_ROW_BYTES:
                raise DamagedStream("a row is larger than a server can send")
            at += HEADER_BYTES + length
            sequence = (sequence + 1) & 0xFF
            if size < at:
                self.wanted = at
                return 0
        joined = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        to = <uint8_t*>PyBytes_AS_STRING(joined)
        at = 0
        length = MAX_PAYLOAD
        while length == MAX_PAYLOAD:
            length = data[at] | (<int64_t>data[at + 1] << 8) | (<int64_t>data[at + 2] << 16)
            memcpy(to, data + at + HEADER_BYTES, length)
            to += length
            at += HEADER_BYTES + length
        to -= total
        with nogil:
            result = self._packet(to, total)
        if result == NO_MEMORY:
            raise MemoryError
        if result == DAMAGED:
            raise DamagedStream(self.problem.decode())
        if result == NO_ROOM:
            self.state = FULL
            return 0
        self.sequence = sequence
        return at

    cdef int _packet(self, const uint8_t* p, int64_t size) noexcept nogil:
        """Decode one whole packet: a row, the end, or an error."""
        cdef int result
        if size == 0:
            self.problem = "a packet is empty"
            return DAMAGED
        if p[0] == ERROR_MARK:
            if size < 3:
                self.problem = "an error packet is cut off"
                return DAMAGED
            self.state = FAILED
            return self._keep(p, size)
        # The mark is also that of a length of eight bytes, which only a row of a maximal first packet begins with.
        if p[0] == END_MARK and (size < MAX_PAYLOAD if self.deprecate_eof else size < 9):
            if size < (7 if self.deprecate_eof else 5):
                self.problem = "an end packet is cut off"
                return DAMAGED
            self.state = END
            return DONE
        if self.rows == self.capacity:
            return NO_ROOM
        result = self._row(p, p + size)
        if result == UNUSUAL:
            self.state = ODD
            return self._keep(p, size)
        return result

    cdef int _keep(self, const uint8_t* p, int64_t size) noexcept nogil:
        with gil:
            try:
                self.packet = PyBytes_FromStringAndSize(<const char*>p, <Py_ssize_t>size)
            except MemoryError:
                return NO_MEMORY
        return DONE

    cdef int _row(self, const uint8_t* p, const uint8_t* end) noexcept nogil:
        """Decode one row behind those of the batch; it counts only if all of it could be taken."""
        cdef int64_t n = self.rows, texts = 0, room
        cdef uint64_t length = 0
        cdef uint8_t bit = <uint8_t>(1 << (n & 7))
        cdef const uint8_t* nulls = NULL
        cdef int i, result
        cdef Col* col
        if self.binary:
            if p[0] != 0 or end - p < self.head_bytes:
                self.problem = "a packet is no row of the binary protocol"
                return DAMAGED
            nulls = p + 1
            p += self.head_bytes
        for i in range(self.count):
            col = &self.cols[i]
            result = _find(col, i, nulls, &p, end, &length)
            if result == DAMAGED:
                self.problem = "a value is longer than its packet, or of an unknown form"
                return DAMAGED
            if result == UNUSUAL or (col.zero_is_null and _is_zero_date(col, p, length)):
                if result != UNUSUAL:
                    p += length
                if not col.nullable:
                    return UNUSUAL
                col.validity[n >> 3] &= <uint8_t>~bit
                if col.kind >= TEXT:
                    col.offsets[n + 1] = col.offsets[n]
                    texts += col.offsets[n]
                elif col.kind == BOOL:
                    col.data[n >> 3] &= <uint8_t>~bit
                else:
                    memset(col.data + col.width * n, 0, col.width)
                continue
            if col.nullable:
                col.validity[n >> 3] |= bit
            if col.kind >= TEXT:
                if col.max_bytes and length > col.max_bytes:
                    return UNUSUAL
                if col.kind == TEXT and not _is_utf8(p, <int64_t>length):
                    return UNUSUAL
                room = col.offsets[n] + <int64_t>length
                if room > col.capacity:
                    if n and room > self.batch_bytes:
                        return NO_ROOM
                    if self._grow(i, room) != DONE:
                        return NO_MEMORY
                if length <= SHORT_BYTES and SHORT_BYTES <= end - p and col.offsets[n] + SHORT_BYTES <= col.capacity:
                    memcpy(col.data + col.offsets[n], p, SHORT_BYTES)  # of a known size, it is no call
                else:
                    memcpy(col.data + col.offsets[n], p, length)
                col.offsets[n + 1] = <int32_t>room
                texts += room
            elif not _put(col, n, p, <int64_t>length):
                return UNUSUAL
            p += length
        if p != end:
            self.problem = "a row has more values than the result has columns"
            return DAMAGED
        if n and ((n + 1) * self.row_bits + 7) // 8 + self.overhead + texts > self.batch_bytes:
            return NO_ROOM
        self.rows = n + 1
        return DONE


_WIDTHS = {
    INTEGER: (1, 2, 4, 8),
    UNSIGNED: (1, 2, 4, 8),
    BOOL: (0,),
    DECIMAL: (16, 32),
    DATE: (4,),
    TIMESTAMP: (8,),
    DURATION: (8,),
    UUID: (16,),
    DOUBLE: (4, 8),
    TEXT: (0,),
    BYTES: (0,),
}
# The forms of each kind beside text, which is none of ``DOUBLE``.
_INTEGER_FORMS = range(INT8_FORM, UINT64_FORM + 1)
_FORMS = {
    INTEGER: _INTEGER_FORMS,
    UNSIGNED: _INTEGER_FORMS,
    BOOL: _INTEGER_FORMS,
    DATE: (DATE_FORM,),
    TIMESTAMP: (DATETIME_FORM,),
    DURATION: (TIME_FORM,),
    DOUBLE: (DOUBLE_FORM,),
}
_SIZES = {
    INT8_FORM: 1,
    INT16_FORM: 2,
    INT32_FORM: 4,
    INT64_FORM: 8,
    UINT8_FORM: 1,
    UINT16_FORM: 2,
    UINT32_FORM: 4,
    UINT64_FORM: 8,
    DOUBLE_FORM: 8,
}


cdef _check(Col* col, bint binary):
    """Refuse a field that would be written past its buffer, or never; find out how its values are found."""
    if col.kind == DOUBLE if col.form == TEXT_FORM else not binary or col.form not in _FORMS.get(col.kind, ()):
        raise ValueError(f"kind {col.kind} has no form {col.form} here")
    col.size = _SIZES.get(col.form, 0)
    col.plain = col.size == col.width and (
        (col.kind == INTEGER and col.form <= INT64_FORM)
        or (col.kind == UNSIGNED and col.form > INT64_FORM)
        or col.kind == DOUBLE
    )
    if col.width not in _WIDTHS.get(col.kind, ()):
        raise ValueError(f"kind {col.kind} has no width of {col.width}")
    if col.kind == DECIMAL and not 0 <= col.scale <= col.precision <= (38 if col.width == 16 else 76):
        raise ValueError("a decimal's digits do not fit its width")


cdef _cut(buffer, int64_t size):
    """Return the buffer with its final size; give back memory where much is left."""
    buffer.resize(size, shrink_to_fit=buffer.size - size > buffer.size // 4)
    return buffer


cdef inline int _find(
    const Col* col, int index, const uint8_t* nulls, const uint8_t** at, const uint8_t* end, uint64_t* length
) noexcept nogil:
    """Move to a value: ``DONE``, ``UNUSUAL`` for NULL, ``DAMAGED`` if it would not fit or has a wrong length.

    Args:
        nulls: the bits of a binary row; ``NULL`` in a row of text.
    """
    cdef int result
    cdef uint8_t first
    if nulls == NULL:
        return _length(at, end, length)
    index += NULLS_AT
    if nulls[index >> 3] & (1 << (index & 7)):
        return UNUSUAL
    if col.size:
        length[0] = col.size
        return DONE if end - at[0] >= col.size else DAMAGED
    if col.form == TEXT_FORM:
        result = _length(at, end, length)
        return DAMAGED if result == UNUSUAL else result
    if end - at[0] < 1:
        return DAMAGED
    first = at[0][0]
    at[0] += 1
    length[0] = first
    if first > end - at[0]:
        return DAMAGED
    if col.form == TIME_FORM:
        return DONE if first == 0 or first == 8 or first == 12 else DAMAGED
    return DONE if first == 0 or first == 4 or first == 7 or first == 11 else DAMAGED


cdef inline int _length(const uint8_t** at, const uint8_t* end, uint64_t* length) noexcept nogil:
    """Read a length and move behind it: ``DONE``, ``UNUSUAL`` for NULL, ``DAMAGED`` if the value would not fit."""
    cdef const uint8_t* p = at[0]
    cdef int i, bytes_of_length
    cdef uint8_t first
    if p >= end:
        return DAMAGED
    first = p[0]
    p += 1
    if first < NULL_MARK:
        length[0] = first
    elif first == NULL_MARK:
        at[0] = p
        return UNUSUAL
    else:
        if first == TWO_BYTES:
            bytes_of_length = 2
        elif first == THREE_BYTES:
            bytes_of_length = 3
        elif first == EIGHT_BYTES:
            bytes_of_length = 8
        else:
            return DAMAGED
        if end - p < bytes_of_length:
            return DAMAGED
        length[0] = 0
        for i in range(bytes_of_length):
            length[0] |= <uint64_t>p[i] << (8 * i)
        p += bytes_of_length
    if length[0] > <uint64_t>(end - p):
        return DAMAGED
    at[0] = p
    return DONE


cdef inline bint _put(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    """Write a value of fixed width; false if it is not in the one form that is read here."""
    if col.form != TEXT_FORM:
        return _put_binary(col, n, s, size)
    if col.kind == INTEGER or col.kind == UNSIGNED:
        return _put_integer(col, n, s, size)
    if col.kind == DECIMAL:
        return _put_decimal(col, n, s, size)
    if col.kind == DATE:
        return _put_date(col, n, s, size)
    if col.kind == TIMESTAMP:
        return _put_timestamp(col, n, s, size)
    if col.kind == DURATION:
        return _put_duration(col, n, s, size)
    if col.kind == UUID:
        return _put_uuid(col, n, s, size)
    return _put_bool(col, n, s, size)


cdef inline bint _put_binary(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    if col.plain:
        if size == 8:
            memcpy(col.data + 8 * n, s, 8)
        elif size == 4:
            memcpy(col.data + 4 * n, s, 4)
        elif size == 2:
            memcpy(col.data + 2 * n, s, 2)
        else:
            col.data[n] = s[0]
        return True
    if col.form == DATETIME_FORM:
        return _put_binary_timestamp(col, n, s, size)
    if col.form == DATE_FORM:
        return _put_binary_date(col, n, s, size)
    if col.form == TIME_FORM:
        return _put_binary_duration(col, n, s, size)
    if col.form == DOUBLE_FORM:
        return _put_float(col, n, s)
    return _put_binary_integer(col, n, s)


cdef bint _put_binary_integer(Col* col, int64_t n, const uint8_t* s) noexcept nogil:
    """Write an integer of another width or sign, or a boolean."""
    cdef uint64_t value = 0
    cdef int64_t signed_value
    cdef bint negative
    memcpy(&value, s, col.size)
    negative = col.form <= INT64_FORM and s[col.size - 1] & 0x80
    if negative and col.size < 8:
        value |= <uint64_t>-1 << (8 * col.size)
    if col.kind == BOOL:
        if value > 1:
            return False
        if value:
            col.data[n >> 3] |= <uint8_t>(1 << (n & 7))
        else:
            col.data[n >> 3] &= <uint8_t>~(1 << (n & 7))
        return True
    if col.kind == UNSIGNED:
        if negative or (col.width < 8 and value >> (8 * col.width)):
            return False
    else:
        if not negative and value >> (8 * col.width - 1):
            return False
        memcpy(&signed_value, &value, 8)
        if negative and col.width < 8 and signed_value < -(<int64_t>1 << (8 * col.width - 1)):
            return False
    memcpy(col.data + col.width * n, &value, col.width)
    return True


cdef bint _put_float(Col* col, int64_t n, const uint8_t* s) noexcept nogil:
    """Write a double as the float that it is."""
    cdef double value
    cdef float narrow
    memcpy(&value, s, 8)
    if not (value <= FLOAT_MAX and value >= -FLOAT_MAX):
        return False
    narrow = <float>value
    if <double>narrow != value:
        return False
    memcpy(col.data + 4 * n, &narrow, 4)
    return True


cdef inline uint32_t _four(const uint8_t* s) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, s, 4)
    return value


cdef inline bint _binary_day(const uint8_t* s, int64_t* day) noexcept nogil:
    """Read a year of two bytes, a month and a day as days since 1970."""
    return _civil(s[0] | (s[1] << 8), s[2], s[3], day)


cdef bint _put_binary_date(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef int64_t day = 0
    if size != 4 or not _binary_day(s, &day):
        return False
    (<int32_t*>col.data)[n] = <int32_t>day
    return True


cdef bint _put_binary_timestamp(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef int64_t day = 0, seconds = 0, micros = 0
    if size < 4 or not _binary_day(s, &day):
        return False
    if size > 4:
        if s[4] > 23 or s[5] > 59 or s[6] > 59:
            return False
        seconds = s[4] * 3600 + s[5] * 60 + s[6]
    if size > 7:
        micros = _four(s + 7)
        if micros >= MICROS_PER_SECOND:
            return False
    (<int64_t*>col.data)[n] = day * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + micros
    return True


cdef bint _put_binary_duration(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    """Write a sign, days, hours, minutes, seconds and perhaps microseconds, of hours up to six digits."""
    cdef int64_t hours, total = 0, micros = 0
    if size:
        hours = <int64_t>_four(s + 1) * 24 + s[5]
        if s[0] > 1 or hours > MAX_HOURS or s[5] > 23 or s[6] > 59 or s[7] > 59:
            return False
        if size > 8:
            micros = _four(s + 8)
            if micros >= MICROS_PER_SECOND:
                return False
        total = (hours * 3600 + s[6] * 60 + s[7]) * MICROS_PER_SECOND + micros
        if s[0]:
            total = -total
    (<int64_t*>col.data)[n] = total
    return True


cdef inline bint _put_integer(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef uint64_t value = 0, largest
    cdef int64_t signed_value
    cdef bint negative = False
    cdef int64_t i
    cdef uint8_t digit
    if col.kind == INTEGER and size > 1 and s[0] == 45:  # -
        negative = True
        s += 1
        size -= 1
    if size < 1:
        return False
    while size > 1 and s[0] == 48:  # ZEROFILL
        s += 1
        size -= 1
    if size > 20:
        return False
    for i in range(size):
        digit = <uint8_t>(s[i] - 48)
        if digit > 9:
            return False
        if i == 19 and (value > 1844674407370955161ULL or (value == 1844674407370955161ULL and digit > 5)):
            return False
        value = value * 10 + digit
    if col.kind == UNSIGNED:
        largest = <uint64_t>-1 if col.width == 8 else (<uint64_t>1 << (8 * col.width)) - 1
    else:
        largest = (<uint64_t>1 << (8 * col.width - 1)) - (0 if negative else 1)
    if value > largest:
        return False
    if negative:
        value = 0 - value
    if col.width == 8:
        memcpy(col.data + 8 * n, &value, 8)
    elif col.width == 4:
        (<uint32_t*>col.data)[n] = <uint32_t>value
    elif col.width == 2:
        col.data[2 * n] = 0
        _put_two(col.data + 2 * n, value)
    else:
        col.data[n] = <uint8_t>value
    return True


cdef inline void _put_two(uint8_t* to, uint64_t value) noexcept nogil:
    cdef unsigned short two = <unsigned short>value
    memcpy(to, &two, 2)


cdef inline bint _put_bool(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef uint8_t bit = <uint8_t>(1 << (n & 7))
    if size != 1:
        return False
    if s[0] == 49:
        col.data[n >> 3] |= bit
    elif s[0] == 48:
        col.data[n >> 3] &= <uint8_t>~bit
    else:
        return False
    return True


cdef inline bint _small_decimal(const Col* col, const uint8_t* s, int64_t size, uint64_t* value) noexcept nogil:
    """Read a decimal of up to 18 digits that has all of its scale, as servers send them; false if it is none."""
    cdef int64_t i, point = size - col.scale - 1 if col.scale else size
    cdef uint64_t number = 0
    cdef uint8_t digit
    if size < 1 or point < 0 or size > 18 or size > col.precision:
        return False
    for i in range(point):
        digit = <uint8_t>(s[i] - 48)
        if digit > 9:
            return False
        number = number * 10 + digit
    if point < size:
        if s[point] != 46:
            return False
        for i in range(point + 1, size):
            digit = <uint8_t>(s[i] - 48)
            if digit > 9:
                return False
            number = number * 10 + digit
    value[0] = number
    return True


cdef bint _put_decimal(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    """Write digits with at most ``scale`` of them behind the point, and at most ``precision`` that count."""
    cdef uint32_t limbs[8]
    cdef uint64_t small = 0, carry
    cdef int64_t signed_value
    cdef bint negative = False
    cdef int64_t i, behind = -1, digits = 0, counted = 0
    cdef int j, words = col.width // 4
    cdef uint8_t digit
    if size > 1 and s[0] == 45:
        negative = True
        s += 1
        size -= 1
    if _small_decimal(col, s, size, &small):
        signed_value = -<int64_t>small if negative else <int64_t>small
        memset(col.data + col.width * n, 0xFF if signed_value < 0 else 0, col.width)
        memcpy(col.data + col.width * n, &signed_value, 8)
        return True
    small = 0
    if size > 80:
        return False
    memset(limbs, 0, sizeof(limbs))
    for i in range(size + col.scale):
        if i < size:
            if s[i] == 46:  # .
                if behind >= 0:
                    return False
                behind = 0
                continue
            digit = <uint8_t>(s[i] - 48)
            if digit > 9:
                return False
            digits += 1
            if behind >= 0:
                behind += 1
        else:
            # Zeros fill up to the scale.
            if behind < 0:
                behind = 0
            if behind >= col.scale:
                break
            digit = 0
            behind += 1
        if digit or counted:
            counted += 1
            if counted > col.precision:
                return False
        if counted <= 18:
            small = small * 10 + digit
            continue
        if counted == 19:
            limbs[0] = <uint32_t>small
            limbs[1] = <uint32_t>(small >> 32)
        carry = digit
        for j in range(words):
            carry += <uint64_t>limbs[j] * 10
            limbs[j] = <uint32_t>carry
            carry >>= 32
    if digits == 0 or behind > col.scale or s[size - 1] == 46:
        return False
    if counted <= 18:
        limbs[0] = <uint32_t>small
        limbs[1] = <uint32_t>(small >> 32)
    if negative:
        carry = 1
        for j in range(words):
            carry += <uint32_t>~limbs[j]
            limbs[j] = <uint32_t>carry
            carry >>= 32
    memcpy(col.data + col.width * n, limbs, col.width)
    return True


cdef inline int _two(const uint8_t* s) noexcept nogil:
    """Return the number that two digits stand for, or -1."""
    cdef uint8_t a = <uint8_t>(s[0] - 48)
    cdef uint8_t b = <uint8_t>(s[1] - 48)
    return 10 * a + b if a <= 9 and b <= 9 else -1


cdef inline bint _day(const uint8_t* s, int64_t* day) noexcept nogil:
    """Read ``YYYY-MM-DD`` as days since 1970; ten bytes are there."""
    cdef int century = _two(s), rest = _two(s + 2)
    if century < 0 or rest < 0 or s[4] != 45 or s[7] != 45:
        return False
    return _civil(100 * century + rest, _two(s + 5), _two(s + 8), day)


cdef inline bint _civil(int year, int month, int dom, int64_t* day) noexcept nogil:
    """Find the days since 1970 of a date from year 1 to 9999."""
    cdef int era, year_of_era, day_of_year, day_of_era, last
    if month < 1 or month > 12 or dom < 1 or year < 1 or year > 9999:
        return False
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        last = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    if dom > last:
        return False
    # https://howardhinnant.github.io/date_algorithms.html#days_from_civil
    if month <= 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + dom - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    day[0] = <int64_t>era * 146097 + day_of_era - 719468
    return True


cdef inline bint _fraction(const uint8_t* s, int64_t size, int64_t* micros) noexcept nogil:
    """Read nothing, or a point and one to six digits."""
    cdef int64_t i
    cdef uint8_t digit
    micros[0] = 0
    if size == 0:
        return True
    if size < 2 or size > 7 or s[0] != 46:
        return False
    for i in range(1, 7):
        digit = <uint8_t>(s[i] - 48) if i < size else 0
        if digit > 9:
            return False
        micros[0] = micros[0] * 10 + digit
    return True


cdef bint _put_date(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef int64_t day = 0
    if size != 10 or not _day(s, &day):
        return False
    (<int32_t*>col.data)[n] = <int32_t>day
    return True


cdef bint _put_timestamp(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef int64_t day = 0, micros = 0
    cdef int hour, minute, second
    if size < 19 or s[10] != 32 or s[13] != 58 or s[16] != 58 or not _day(s, &day):
        return False
    hour = _two(s + 11)
    minute = _two(s + 14)
    second = _two(s + 17)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return False
    if not _fraction(s + 19, size - 19, &micros):
        return False
    (<int64_t*>col.data)[n] = (
        day * MICROS_PER_DAY + (<int64_t>hour * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros
    )
    return True


cdef bint _put_duration(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    """Write ``[-]HH:MM:SS[.ffffff]``, of hours up to six digits."""
    cdef int64_t hours = 0, micros = 0, total
    cdef int64_t i = 0
    cdef int minute, second
    cdef bint negative = False
    if size > 0 and s[0] == 45:
        negative = True
        s += 1
        size -= 1
    while i < size and i < 7 and s[i] != 58:
        if s[i] < 48 or s[i] > 57:
            return False
        hours = hours * 10 + (s[i] - 48)
        i += 1
    if i < 2 or i > 6 or size - i < 6 or s[i] != 58 or s[i + 3] != 58:
        return False
    minute = _two(s + i + 1)
    second = _two(s + i + 4)
    if minute < 0 or minute > 59 or second < 0 or second > 59 or not _fraction(s + i + 6, size - i - 6, &micros):
        return False
    total = (hours * 3600 + minute * 60 + second) * MICROS_PER_SECOND + micros
    (<int64_t*>col.data)[n] = -total if negative else total
    return True


# The number that a hexadecimal digit stands for, or one of more than four bits; and where a UUID has them.
cdef uint8_t[256] HEX
memset(HEX, NO_DIGIT, sizeof(HEX))
for _value in range(16):
    HEX[ord("0123456789abcdef"[_value])] = HEX[ord("0123456789ABCDEF"[_value])] = _value
cdef uint8_t[16] UUID_DIGITS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34]


cdef bint _put_uuid(Col* col, int64_t n, const uint8_t* s, int64_t size) noexcept nogil:
    cdef uint8_t* to = col.data + 16 * n
    cdef int i
    cdef uint8_t high, low, all_bits = 0
    if size != 36 or s[8] != 45 or s[13] != 45 or s[18] != 45 or s[23] != 45:
        return False
    for i in range(16):
        high = HEX[s[UUID_DIGITS[i]]]
        low = HEX[s[UUID_DIGITS[i] + 1]]
        all_bits |= high | low
        to[i] = <uint8_t>(high << 4 | low)
    return all_bits < 16


cdef bint _is_zero_date(const Col* col, const uint8_t* s, uint64_t size) noexcept nogil:
    """Whether the value is ``0000-00-00``, perhaps with a time of zeros."""
    cdef uint64_t i
    if col.form != TEXT_FORM:
        for i in range(size):
            if s[i] != 0:
                return False
        return True
    if size == 10:
        return memcmp(s, b"0000-00-00", 10) == 0
    if size < 19 or memcmp(s, b"0000-00-00 00:00:00", 19) != 0:
        return False
    if size == 20 or (size > 20 and s[19] != 46):
        return False
    for i in range(20, size):
        if s[i] != 48:
            return False
    return True


cdef inline bint _is_ascii(const uint8_t* s, int64_t size) noexcept nogil:
    cdef int64_t i = 0
    cdef uint64_t word, all_bits = 0
    if size < 8:
        for i in range(size):
            all_bits |= s[i]
        return not all_bits & 0x80
    for i in range(0, size - 7, 8):
        memcpy(&word, s + i, 8)
        all_bits |= word
    memcpy(&word, s + size - 8, 8)
    return not (all_bits | word) & HIGH_BITS


cdef inline bint _is_utf8(const uint8_t* s, int64_t size) noexcept nogil:
    """Whether the bytes are UTF-8 (RFC 3629): no surrogates, nothing overlong, nothing beyond U+10FFFF."""
    cdef int64_t i = 0
    cdef int more, k
    cdef uint64_t word
    cdef uint8_t c, low, high
    if _is_ascii(s, size):
        return True
    while i < size:
        while size - i >= 8:
            memcpy(&word, s + i, 8)
            if word & HIGH_BITS:
                break
            i += 8
        if i == size:
            return True
        c = s[i]
        i += 1
        if c < 0x80:
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if size - i < more or s[i] < low or s[i] > high:
            return False
        for k in range(1, more):
            if s[i + k] & 0xC0 != 0x80:
                return False
        i += more
    return True
