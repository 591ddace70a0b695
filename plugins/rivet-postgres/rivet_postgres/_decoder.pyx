# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Decodes PostgreSQL's binary COPY (manual, COPY, "Binary Format") into Arrow's columnar buffers.

The stream is read as if an enemy had written it: no length is believed before it is compared with the bytes that are
there. A row is written into the columns field by field and counts only when all of it fits; until then the batch ends
before it, so a row that is cut off or too large for the batch is simply decoded again.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

import time

import pyarrow as pa

from rivet_postgres.fields import Column, MalformedStream, Reason, RefusedField, Rows

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int nanosleep(const timespec* wanted, timespec* left)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)
    const short POLLIN

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* room, size_t size, int flags)
    const int MSG_DONTWAIT

ctypedef int (*get_copy_data_t)(void* connection, char** buffer, int asynchronous) noexcept nogil
ctypedef void (*free_t)(void* memory) noexcept nogil
ctypedef int (*consume_input_t)(void* connection) noexcept nogil
ctypedef int (*socket_t)(void* connection) noexcept nogil

cdef enum:
    BOOL = 0
    WORD16 = 1
    WORD32 = 2
    WORD64 = 3
    DATE = 4
    TIME = 5
    TIMESTAMP = 6
    UUID = 7
    DECIMAL128 = 8
    DECIMAL256 = 9
    BYTES = 10
    JSONB = 11

cdef enum:
    UNFIT = 1
    NULL_VALUE = 2
    LARGE = 3

# What a step ends with.
cdef enum:
    DONE = 0
    SHORT = 1        # more input is needed
    FULL = 2         # the batch takes no further row
    GROW = 3         # a column's data buffer is too small
    REFUSED = 4
    MALFORMED = 5
    WAIT = 6         # nothing has come for a while
    OVER = 7         # libpq says that the stream is over
    FAILED = 8       # libpq says that it failed
    NO_MEMORY = 9
    ASIDE = 10       # a message is for whoever owns the connection
    CHECK = 11       # for signals: input has come for a long time without a pause

# Where the stream stands.
cdef enum:
    HEADER = 0
    ROWS = 1
    ENDED = 2
    DEAD = 3

cdef enum:
    SIGNATURE_BYTES = 11
    HEADER_BYTES = 19
    MAX_EXTENSION_BYTES = 1 << 20
    MAX_ROW_BYTES = 0x3FFFFFFF     # the server's own bound of an allocation
    MAX_BATCH_BYTES = 1 << 30      # offsets have 31 bits
    SHORT_NUMERIC_BYTES = 16
    MAX_NUMERIC_BYTES = 8 + 2 * 0x7FFF
    LIMBS = 9                      # of 32 bits: a number of 76 digits and a group of four more
    FIRST_ROWS = 1024
    BLOCK_BYTES = 64               # of a short text, which is copied with what stands behind it
    MAX_ROWS = 65536
    FIRST_BYTES_PER_VALUE = 24
    ASCII_BLOCK_BYTES = 1024
    WAIT_MILLISECONDS = 100
    FIRST_PAUSE_NANOSECONDS = 100000
    LAST_PAUSE_NANOSECONDS = 1000000
    CHECKED_RECEIPTS = 256

cdef const char* SIGNATURE = b"PGCOPY\n\xff\r\n\0"

cdef int32_t DAYS_TO_2000 = 10957
cdef int32_t FIRST_DAY = -719162 - 10957              # 0001-01-01, since 2000
cdef int32_t LAST_DAY = 2932896 - 10957               # 9999-12-31
cdef int64_t MICROS_TO_2000 = 946684800000000
cdef int64_t FIRST_MICRO = -62135596800000000 - 946684800000000
cdef int64_t LAST_MICRO = 253402300799999999 - 946684800000000
cdef int64_t MICROS_PER_DAY = 86400000000

cdef uint64_t[20] POWERS
cdef int _power
POWERS[0] = 1
for _power in range(1, 20):
    POWERS[_power] = POWERS[_power - 1] * 10

cdef struct Col:
    int kind
    int wire             # bytes of a value in the stream; 0 where they differ, or where none may be so large
    uint8_t* data
    int32_t* offsets
    uint8_t* valid
    int64_t capacity     # of data, in bytes, for kinds of any length
    uint64_t short_bound # of a decimal's units: 10 to the power of the precision, or of 18 where that is less
    int short_bytes      # of a value of any length: up to so many are copied as a block
    bint short_decimals  # may be tried
    int scale
    int precision
    int nullable
    int width            # bytes of a value; 0 for BOOL and for kinds of any length
    int64_t max_bytes
    double average       # bytes of a value in the last batch
    uint32_t[LIMBS] bound  # 10 to the power of the precision


cdef inline uint16_t _u16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((<uint16_t>p[0] << 8) | p[1])


cdef inline uint32_t _u32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | <uint32_t>p[3]


cdef inline uint64_t _u64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>_u32(p) << 32) | _u32(p + 4)


cdef inline void _multiply_add(uint32_t* limbs, uint32_t factor, uint32_t summand) noexcept nogil:
    cdef uint64_t carry = summand
    cdef int i
    for i in range(LIMBS):
        carry += <uint64_t>limbs[i] * factor
        limbs[i] = <uint32_t>carry
        carry >>= 32


cdef inline int _below(const uint32_t* limbs, const uint32_t* bound) noexcept nogil:
    cdef int i
    for i in range(LIMBS - 1, -1, -1):
        if limbs[i] != bound[i]:
            return limbs[i] < bound[i]
    return 0


cdef inline int _short_decimal(const uint8_t* p, int32_t length, const Col* col, uint8_t* out) noexcept nogil:
    """Write a numeric of at most four groups that fits a decimal128; else leave it to ``_decimal``, which says why.

    Reads ``SHORT_NUMERIC_BYTES``, however long it is.
    """
    cdef uint64_t head = _u64(p), units
    cdef uint32_t first, second, third, fourth
    cdef int groups = <int>(head >> 48), e
    cdef int64_t word
    # The sign is the plus or the minus.
    if groups > 4 or length != 8 + 2 * groups or (head & 0xBFFF0000UL) != 0:
        return SHORT
    e = 4 * (<int><int16_t>(head >> 32) - groups + 1) + col.scale  # of the last group
    if e < -3 or e + 4 * groups > 18:
        return SHORT
    units = _u64(p + 8) >> ((64 - 16 * groups) & 63) if groups else 0  # what is not there is zeros in front
    first = <uint32_t>(units >> 48)
    second = <uint32_t>(units >> 32) & 0xFFFF
    third = <uint32_t>(units >> 16) & 0xFFFF
    fourth = <uint32_t>units & 0xFFFF
    if (first > 9999) | (second > 9999) | (third > 9999) | (fourth > 9999):
        return SHORT
    units = <uint64_t>(first * 10000 + second) * 100000000 + (third * 10000 + fourth)
    if e >= 0:
        units *= POWERS[e]
    else:
        # By a constant each: a division by a variable takes longer than all the rest.
        if e == -2:
            word = units // 100
        elif e == -1:
            word = units // 10
        else:
            word = units // 1000
        if word * POWERS[-e] != units:
            return SHORT
        units = word
    if units >= col.short_bound:
        return SHORT
    word = -<int64_t>units if head & 0x40000000UL else <int64_t>units
    memcpy(out, &word, 8)
    word >>= 63
    memcpy(out + 8, &word, 8)
    return DONE


cdef int _decimal(const uint8_t* p, int32_t length, const Col* col, uint8_t* out) noexcept nogil:
    """Write a numeric as the whole number of units of the column's scale; DONE, REFUSED or MALFORMED."""
    cdef int16_t groups, weight
    cdef uint16_t sign, group
    cdef int i, e, last, step
    cdef uint32_t kept, rest
    cdef uint64_t small = 0
    cdef int64_t word
    cdef uint32_t[LIMBS] limbs
    cdef uint64_t carry
    cdef int negative, words
    if length < 8:
        return MALFORMED
    groups = <int16_t>_u16(p)
    weight = <int16_t>_u16(p + 2)
    sign = _u16(p + 4)
    if groups < 0 or length != 8 + 2 * <int32_t>groups:
        return MALFORMED
    if sign == 0xC000 or sign == 0xD000 or sign == 0xF000:
        return REFUSED  # NaN, Infinity, -Infinity
    if sign != 0 and sign != 0x4000:
        return MALFORMED
    negative = sign == 0x4000
    p += 8
    for i in range(groups):
        if _u16(p + 2 * i) >= 10000:
            return MALFORMED
    i = 0
    while i < groups and _u16(p + 2 * i) == 0:
        i += 1
    words = 2 if col.kind == DECIMAL128 else 4
    if i == groups:
        memset(out, 0, 8 * words)
        return DONE
    e = 4 * (<int>weight - i) + col.scale  # the first group counts in units of 10 to the power of this
    if e >= col.precision:
        return REFUSED
    last = 0
    if e <= 14:  # below 10 to the power of 18
        while i < groups:
            group = _u16(p + 2 * i)
            if e >= 0:
                small = small * 10000 + group
                last = e
            elif e > -4:
                # By a constant each: a division by a variable takes longer than all the rest.
                if e == -1:
                    kept = group // 10
                    rest = group - kept * 10
                elif e == -2:
                    kept = group // 100
                    rest = group - kept * 100
                else:
                    kept = group // 1000
                    rest = group - kept * 1000
                if rest:
                    return REFUSED
                small = small * POWERS[4 + e] + kept
                last = 0
            elif group:
                return REFUSED
            e -= 4
            i += 1
        small *= POWERS[last]
        if col.precision < 19 and small >= POWERS[col.precision]:
            return REFUSED
        word = -<int64_t>small if negative else <int64_t>small
        memcpy(out, &word, 8)
        memset(out + 8, 0xFF if word < 0 else 0, 8 * (words - 1))
        return DONE
    memset(limbs, 0, sizeof(limbs))
    while i < groups:
        group = _u16(p + 2 * i)
        if e >= 0:
            _multiply_add(limbs, 10000, group)
            last = e
        elif e > -4:
            if group % POWERS[-e]:
                return REFUSED
            _multiply_add(limbs, <uint32_t>POWERS[4 + e], <uint32_t>(group // POWERS[-e]))
            last = 0
        elif group:
            return REFUSED
        e -= 4
        i += 1
    while last > 0:
        step = last if last < 9 else 9
        _multiply_add(limbs, <uint32_t>POWERS[step], 0)
        last -= step
    if not _below(limbs, col.bound):
        return REFUSED
    if negative:
        carry = 1
        for i in range(LIMBS):
            carry += <uint64_t>(~limbs[i])
            limbs[i] = <uint32_t>carry
            carry >>= 32
    memcpy(out, limbs, 8 * words)
    return DONE


include "_messages.pxi"


@cython.final
cdef class Decoder:
    """Turns the bytes of binary COPY streams of one shape into batches of rows.

    Feed it with bytes; or attach it to a connection of libpq that is in COPY OUT, or to the socket over which the answer
    to a COPY statement will come, and drain that. Rows are handed out
    in batches of at most ``batch_bytes`` of Arrow data, a larger row alone; a batch may go on from one stream to the
    next. The platform's byte order must be little-endian.

    Raises (every method): MalformedStream, RefusedField. The decoder is of no use after either.
    """

    cdef Col* cols
    cdef int count
    cdef int variable            # number of columns of any length
    cdef int bits                # number of bitmaps: one for each column's validity, one for each boolean's values
    cdef int64_t fixed           # bytes of a row in whole bytes of known number, offsets included
    cdef int64_t batch_bytes
    cdef list validity, offsets, data
    # The batch.
    cdef int64_t rows, capacity, used, before
    cdef double average          # bytes of a row in the last batch
    cdef bint allocated, lenient
    # The input: `here` points to `size` bytes, of which `at` are read.
    cdef const uint8_t* here
    cdef int64_t at, size, need
    cdef int64_t slack           # bytes behind them that may be read, whatever they are
    cdef uint8_t* pending        # a row that has not come as a whole
    cdef int64_t pending_capacity
    cdef char* message           # of libpq
    cdef int state
    # The last step's complaint.
    cdef int bad_column, reason
    cdef int64_t bad_size
    cdef const char* problem
    # What is drained: a socket, or libpq.
    cdef Messages messages
    cdef object aside
    cdef int receipts
    cdef const uint8_t* aside_bytes
    cdef int64_t aside_size
    cdef void* connection
    cdef get_copy_data_t get_copy_data
    cdef free_t release
    cdef consume_input_t consume_input
    cdef socket_t socket
    cdef bint tls, over, lost
    cdef double silent_since     # 0 where something has come since the last look at the clock
    cdef int64_t patience, pause

    def __cinit__(self, fields, batch_bytes):
        cdef int i, limb
        self.count = len(fields)
        self.cols = <Col*>calloc(max(self.count, 1), sizeof(Col))
        if self.cols == NULL:
            raise MemoryError
        self.batch_bytes = min(max(batch_bytes, 1), MAX_BATCH_BYTES)
        self.bits = self.count
        for i, field in enumerate(fields):
            kind = int(field.kind)
            self.cols[i].kind = kind
            self.cols[i].nullable = field.nullable
            self.cols[i].max_bytes = field.max_bytes
            self.cols[i].average = FIRST_BYTES_PER_VALUE
            self.cols[i].short_bytes = min(field.max_bytes or BLOCK_BYTES, BLOCK_BYTES) if kind == BYTES else -1
            if kind in (DECIMAL128, DECIMAL256):
                if not 1 <= field.precision <= (38 if kind == DECIMAL128 else 76) or not 0 <= field.scale <= field.precision:
                    raise ValueError("a decimal of that precision and scale is not decoded")
                self.cols[i].precision = field.precision
                self.cols[i].scale = field.scale
                self.cols[i].short_decimals = kind == DECIMAL128 and not 0 < field.max_bytes < SHORT_NUMERIC_BYTES
                self.cols[i].short_bound = POWERS[min(field.precision, 18)]
                for limb in range(LIMBS):
                    self.cols[i].bound[limb] = (10**field.precision >> (32 * limb)) & 0xFFFFFFFF
            self.cols[i].width = _WIDTHS[kind]
            if kind < DECIMAL128 and not 0 < field.max_bytes < _WIRE[kind]:
                self.cols[i].wire = _WIRE[kind]
            self.fixed += self.cols[i].width
            if kind in (BYTES, JSONB):
                self.variable += 1
                self.fixed += 4
            self.bits += kind == BOOL

    def __dealloc__(self):
        free(self.cols)
        free(self.pending)
        if self.message != NULL:
            self.release(self.message)

    @property
    def ended(self):
        """Whether the stream's trailer has come."""
        return self.state == ENDED

    @property
    def failed(self):
        """Whether the connection failed before the end of the stream."""
        return self.lost

    def feed(self, bytes data not None):
        """Take the next bytes of a stream, cut anywhere, and return the batches that are full."""
        cdef list full = []
        cdef int result
        self._check_alive()
        if not self._take_input(<const uint8_t*><const char*>data, len(data), 0):
            self._die()
            raise MemoryError
        try:
            while True:
                with nogil:
                    result = self._parse()
                if result == SHORT:
                    break
                if result == FULL:
                    full.append(self._rows())
                else:
                    self._attend(result)
            # The bytes are the caller's; what is left of them must be ours.
            if not self._take_input(NULL, 0, 0):
                raise MemoryError
        except BaseException:
            self._die()
            raise
        return full

    def attach(self, connection, *, get_copy_data, free, consume_input, socket, tls, patience):
        """Drain this connection from now on; all arguments are addresses but ``tls`` and ``patience``.

        ``patience`` are the milliseconds of silence after which ``drain`` gives up.
        The connection must stay open as long as the decoder is drained, and libpq as long as it lives.
        """
        self.connection = <void*><uintptr_t>connection
        self.get_copy_data = <get_copy_data_t><uintptr_t>get_copy_data
        self.release = <free_t><uintptr_t>free
        self.consume_input = <consume_input_t><uintptr_t>consume_input
        self.socket = <socket_t><uintptr_t>socket
        self.tls = tls
        self.aside = None
        self._begin_drain(patience)

    def attach_socket(self, int fd, *, aside, patience):
        """Drain this socket from now on: nothing of the answer to a COPY statement has been read from it.

        Args:
            aside: is called with the bytes of all messages but the copy's own, in order, cut anywhere.
            patience: the milliseconds of silence after which ``drain`` gives up.
        """
        if self.messages is None:
            self.messages = Messages(BLOCK_BYTES)
        self.messages.begin(fd)
        self.aside = aside
        self.receipts = 0
        self._begin_drain(patience)

    cdef void _begin_drain(self, int64_t patience) noexcept:
        self.over = self.lost = False
        self.patience = patience
        self.silent_since = 0
        self.pause = FIRST_PAUSE_NANOSECONDS

    def drain(self):
        """Return the next full batch; ``None`` when there is no more, whether the stream is over or has failed.

        Raises ``TimeoutError`` when nothing has come for as long as the patience lasts.
        """
        cdef int result
        cdef double now
        if self.connection == NULL and self.aside is None:
            raise ValueError("no connection is attached")
        self._check_alive()
        while not (self.over or self.lost):
            with nogil:
                result = self._run()
            if result == FULL:
                return self._rows()
            if result == WAIT:
                PyErr_CheckSignals()
                # By the clock, for signals may end any wait at once.
                now = time.monotonic()
                if self.silent_since == 0:
                    self.silent_since = now
                elif (now - self.silent_since) * 1000 > self.patience:
                    raise TimeoutError("the server is silent")
            elif result == OVER:
                self.over = True
            elif result == FAILED:
                self.lost = True
            elif result == CHECK:
                PyErr_CheckSignals()
            else:
                self._attend(result)
        return None

    def end_stream(self):
        """Check that the stream is complete; the next bytes begin another one."""
        if self.state != ENDED or self.at != self.size:
            self._die()
            raise MalformedStream("it ends before its trailer")
        self.state = HEADER

    def finish(self):
        """Return the rows that fill no batch, if there are any."""
        if self.state != HEADER:
            raise MalformedStream("it ends before its trailer")
        return self._rows() if self.rows else None

    cdef int _check_alive(self) except -1:
        if self.state == DEAD:
            raise MalformedStream("it was given up after an error")
        return 0

    cdef void _die(self) noexcept:
        """Forget the input: it may be the caller's and go away."""
        self.state = DEAD
        self.here = NULL
        self.at = self.size = self.need = 0

    cdef int _attend(self, int result) except -1:
        """Do what a step needs before it can go on, or raise what it complains of."""
        if result == GROW:
            self._grow()
        elif result == DONE:
            self._allocate()
        elif result == REFUSED:
            self._refuse()
        elif result == NO_MEMORY:
            raise MemoryError
        elif result == ASIDE:
            self.aside(<bytes>(<const char*>self.aside_bytes)[:self.aside_size])
        else:
            self.state = DEAD
            raise MalformedStream((<bytes>self.problem).decode() + f", after row {self.before + self.rows}")
        return 0

    cdef int _refuse(self) except -1:
        """Raise for the value that was refused, with its row where that is whole."""
        cdef int column = self.bad_column, reason = self.reason
        cdef int64_t number = self.before + self.rows + 1, size = self.bad_size
        cdef int result
        self.rows = 0
        self.used = 0
        self.lenient = True
        self._undo()
        row = None
        while True:
            result = self._row()
            if result != GROW:
                break
            self._grow()
        if result == DONE:
            row = self._rows()
        self.state = DEAD
        raise RefusedField(column, number, Reason(reason), size, row)

    cdef int _allocate(self) except -1:
        """Begin a batch: buffers for as many rows as the last one's let expect."""
        cdef int i
        cdef Col* col
        cdef int64_t rows, bytes_
        # Large rows say little about the next ones, so there is room for some small ones at least.
        rows = min(<int64_t>(self.batch_bytes / max(self.fixed, 1)) + 1, FIRST_ROWS)
        if self.average > 0:
            rows = max(rows, min(<int64_t>(self.batch_bytes / self.average) + 1, MAX_ROWS))
        self.validity = [None] * self.count
        self.offsets = [None] * self.count
        self.data = [None] * self.count
        for i in range(self.count):
            col = &self.cols[i]
            self.validity[i] = pa.allocate_buffer((rows + 7) // 8, resizable=True)
            col.valid = <uint8_t*><uintptr_t>self.validity[i].address
            memset(col.valid, 0xFF, (rows + 7) // 8)
            if col.kind == BYTES or col.kind == JSONB:
                self.offsets[i] = pa.allocate_buffer((rows + 1) * 4, resizable=True)
                col.offsets = <int32_t*><uintptr_t>self.offsets[i].address
                col.offsets[0] = 0
                bytes_ = min(<int64_t>(col.average * rows * 1.0625), self.batch_bytes) + 64
                col.capacity = bytes_
            elif col.kind == BOOL:
                bytes_ = (rows + 7) // 8
            else:
                bytes_ = rows * col.width
            self.data[i] = pa.allocate_buffer(bytes_, resizable=True)
            col.data = <uint8_t*><uintptr_t>self.data[i].address
            if col.kind == BOOL:
                memset(col.data, 0, bytes_)
        self.capacity = rows
        self.rows = self.used = 0
        self.allocated = True
        return 0

    cdef int _grow(self) except -1:
        """Make room for the value that did not fit."""
        cdef Col* col = &self.cols[self.bad_column]
        cdef int64_t wanted = max(self.bad_size, min(2 * col.capacity, self.batch_bytes))
        self.data[self.bad_column].resize(wanted)
        col.data = <uint8_t*><uintptr_t>self.data[self.bad_column].address
        col.capacity = wanted
        return 0

    cdef object _rows(self):
        """Hand the batch out; the next row begins another one."""
        cdef int i
        cdef int64_t n = self.rows, bytes_, room
        cdef bint ascii_
        cdef Col* col
        cdef list columns = []
        for i in range(self.count):
            col = &self.cols[i]
            if col.kind == BYTES or col.kind == JSONB:
                bytes_ = col.offsets[n]
                col.average = max(1.0, <double>bytes_ / n)
                self.offsets[i].resize((n + 1) * 4, shrink_to_fit=4 * n < 3 * self.capacity)
                room = col.capacity
            elif col.kind == BOOL:
                bytes_ = (n + 7) // 8
                room = (self.capacity + 7) // 8
            else:
                bytes_ = n * col.width
                room = self.capacity * col.width
            ascii_ = _is_ascii(col, bytes_)
            self.data[i].resize(bytes_, shrink_to_fit=4 * bytes_ < 3 * room)  # may move it
            if _has_nulls(col.valid, n):
                self.validity[i].resize((n + 7) // 8, shrink_to_fit=4 * n < 3 * self.capacity)
            else:
                self.validity[i] = None
            columns.append(Column(self.validity[i], self.offsets[i], self.data[i], ascii_))
        self.average = <double>self._size(n) / n
        self.before += n
        self.rows = self.used = 0
        self.allocated = False
        self.validity = self.offsets = self.data = None
        return Rows(n, columns)

    cdef inline int _take_input(self, const uint8_t* bytes_, int64_t length, int64_t slack) noexcept nogil:
        """Go on with these bytes after those that are left, which are copied; 0 without memory for them."""
        if self.at != self.size:
            return self._append(bytes_, length)
        self.here = bytes_
        self.at = 0
        self.size = length
        self.slack = slack
        return 1

    cdef int _append(self, const uint8_t* bytes_, int64_t length) noexcept nogil:
        cdef int64_t left = self.size - self.at, wanted = left + length + BLOCK_BYTES
        cdef uint8_t* larger
        if wanted > self.pending_capacity:
            if wanted < 2 * self.pending_capacity:
                wanted = 2 * self.pending_capacity
            larger = <uint8_t*>realloc(self.pending, wanted)
            if larger == NULL:
                return 0
            if self.here == self.pending:
                self.here = larger
            self.pending = larger
            self.pending_capacity = wanted
        if self.here != self.pending or self.at != 0:
            memmove(self.pending, self.here + self.at, left)
        if length:
            memcpy(self.pending + left, bytes_, length)
        memset(self.pending + left + length, 0, BLOCK_BYTES)
        self.here = self.pending
        self.at = 0
        self.size = left + length
        self.slack = BLOCK_BYTES
        return 1

    cdef int _run(self) noexcept nogil:
        """Decode what comes until something needs attention."""
        cdef int result
        while True:
            result = self._parse()
            if result != SHORT:
                return result
            result = self._next_of_libpq() if self.aside is None else self._next_of_socket()
            if result != DONE:
                return result

    cdef int _next_of_socket(self) noexcept nogil:
        """Take the next bytes of the copy from the socket, or say what keeps them from coming."""
        cdef const uint8_t* bytes_ = NULL
        cdef int64_t length = 0
        cdef int result
        while True:
            result = self.messages.take(&bytes_, &length)
            if result == DONE:
                return DONE if self._take_input(bytes_, length, BLOCK_BYTES) else NO_MEMORY
            if result == MALFORMED:
                self.problem = self.messages.problem
            if result == ASIDE:
                self.aside_bytes = bytes_
                self.aside_size = length
            if result != SHORT:
                return result
            # What is left of a row is in the buffer that is about to be filled anew.
            if not self._take_input(NULL, 0, 0):
                return NO_MEMORY
            result = self._receive()
            if result != DONE:
                return result

    cdef void _let_work(self) noexcept nogil:
        """Sleep for a moment, which is short in a short statement.

        Whoever waits for a socket is woken by every packet. A server that sends many small ones is let work for a while
        first, which spares both sides most of their switches.
        """
        cdef timespec moment
        moment.tv_sec = 0
        moment.tv_nsec = self.pause
        nanosleep(&moment, NULL)
        self.pause = min(2 * self.pause, <int64_t>LAST_PAUSE_NANOSECONDS)

    cdef int _receive(self) noexcept nogil:
        """Take input, waiting for it for a while."""
        cdef int step, result
        self.receipts += 1
        if self.receipts >= CHECKED_RECEIPTS:
            self.receipts = 0
            return CHECK
        for step in range(3):
            if step == 1:
                self._let_work()
            elif step == 2 and not _is_ready(self.messages.fd):
                return WAIT
            result = self.messages.receive()
            if result == DONE:
                self.silent_since = 0
            if result != SHORT:
                return result
        return WAIT

    cdef int _next_of_libpq(self) noexcept nogil:
        """Take the next message from libpq, waiting for it for a while."""
        cdef char* message = NULL
        cdef int length, ready, fd
        cdef int step = 0
        while True:
            length = self.get_copy_data(self.connection, &message, 1)
            if length > 0:
                break
            if length == -1:
                return OVER
            if length < -1:
                return FAILED
            # TLS may hold bytes that the socket no longer shows, so libpq is asked before the socket is waited for.
            if step == 1:
                self._let_work()
            elif step == 2:
                fd = self.socket(self.connection)
                if fd < 0:
                    return FAILED
                if not _is_ready(fd):
                    return WAIT
            step = (step + 1) % 3
            if not self.consume_input(self.connection):
                return FAILED
        self.silent_since = 0
        # What is left of the last message is copied before that is freed.
        if self.at == self.size:
            if self.message != NULL:
                self.release(self.message)
            self.message = message
            self._take_input(<const uint8_t*>message, length, 0)
            return DONE
        ready = self._take_input(<const uint8_t*>message, length, 0)
        self.release(message)
        return DONE if ready else NO_MEMORY

    cdef int _parse(self) noexcept nogil:
        """Decode whole rows until the input or the batch is at its end; DONE asks for the buffers of a batch."""
        cdef int result
        while True:
            if self.size - self.at < self.need or self.at == self.size:
                return SHORT
            self.need = 0
            if self.state == ROWS:
                if not self.allocated:
                    return DONE
                result = self._row()
                if result != DONE:
                    self._undo()
                    return result
                if self.state == ENDED:
                    continue
            elif self.state == HEADER:
                result = self._header()
                if result != DONE:
                    return result
            else:
                self.problem = "bytes follow its trailer"
                return MALFORMED

    cdef int _header(self) noexcept nogil:
        cdef const uint8_t* p = self.here + self.at
        cdef uint32_t extension
        if self.size - self.at < HEADER_BYTES:
            self.need = HEADER_BYTES
            return SHORT
        if memcmp(p, SIGNATURE, SIGNATURE_BYTES) != 0:
            self.problem = "it does not begin as a binary COPY"
            return MALFORMED
        if _u32(p + SIGNATURE_BYTES) & 0xFFFF0000UL:
            self.problem = "it has a form that came after this decoder"
            return MALFORMED
        extension = _u32(p + SIGNATURE_BYTES + 4)
        if extension > MAX_EXTENSION_BYTES:
            self.problem = "its header has an impossible length"
            return MALFORMED
        if self.size - self.at < HEADER_BYTES + <int64_t>extension:
            self.need = HEADER_BYTES + <int64_t>extension
            return SHORT
        self.at += HEADER_BYTES + <int64_t>extension
        self.state = ROWS
        return DONE

    cdef int64_t _size(self, int64_t rows) noexcept nogil:
        """Return the bytes of a batch of so many rows, with a bitmap for each column."""
        return self.used + rows * self.fixed + 4 * self.variable + self.bits * ((rows + 7) >> 3)

    cdef void _undo(self) noexcept nogil:
        """Forget what a row that does not count has left in the bitmaps of validity."""
        cdef int i
        if self.allocated and self.rows < self.capacity:
            for i in range(self.count):
                self.cols[i].valid[self.rows >> 3] |= <uint8_t>(1 << (self.rows & 7))

    cdef int _row(self) noexcept nogil:
        """Decode one row behind those of the batch."""
        cdef const uint8_t* start = self.here + self.at
        cdef const uint8_t* end = self.here + self.size
        cdef const uint8_t* readable = end + self.slack
        cdef const uint8_t* possible = start + min(self.size - self.at, <int64_t>MAX_ROW_BYTES)
        cdef const uint8_t* p = start
        cdef int64_t n = self.rows, room
        cdef int64_t added = 0
        cdef int32_t length
        cdef int16_t fields
        cdef int i, result
        cdef int count = self.count
        cdef bint lenient = self.lenient
        cdef Col* cols = self.cols
        cdef Col* col
        if end - p < 2:
            self.need = 2
            return SHORT
        fields = <int16_t>_u16(p)
        p += 2
        if fields == -1:
            self.at += 2
            self.state = ENDED
            return DONE
        if fields != count:
            self.problem = "a row has another number of fields than the query"
            return MALFORMED
        if n == self.capacity:
            return FULL
        for i in range(count):
            col = &cols[i]
            if end - p < 4:
                self.need = p - start + 4
                return SHORT
            length = <int32_t>_u32(p)
            p += 4
            # What is whole and ordinary; whatever is wrong with the rest is told below.
            if 0 <= length <= possible - p:
                if length == col.wire and length:
                    if _put(col, n, p, length) == DONE:
                        p += length
                        continue
                elif length <= col.short_bytes:
                    room = col.offsets[n] + <int64_t>BLOCK_BYTES
                    if room <= col.capacity and readable - p >= BLOCK_BYTES:
                        _copy_block(col.data + room - BLOCK_BYTES, p, length)
                        col.offsets[n + 1] = <int32_t>(room - BLOCK_BYTES + length)
                        added += length
                        p += length
                        continue
                elif col.short_decimals and readable - p >= SHORT_NUMERIC_BYTES:
                    if _short_decimal(p, length, col, col.data + 16 * n) == DONE:
                        p += length
                        continue
            if length < 0:
                if length != -1:
                    self.problem = "a field has an impossible length"
                    return MALFORMED
                if not col.nullable and not lenient:
                    return self._complain(i, NULL_VALUE, 0)
                _put_null(col, n)
                continue
            if col.max_bytes and length - (col.kind == JSONB) > col.max_bytes and not lenient:
                return self._complain(i, LARGE, length - (col.kind == JSONB))
            if not _possible(col.kind, length) or p - start + length > MAX_ROW_BYTES:
                self.problem = "a field has an impossible length"
                return MALFORMED
            if end - p < length:
                self.need = p - start + length
                return SHORT
            if col.kind >= BYTES:
                if col.kind == JSONB:
                    if p[0] != 1:
                        self.problem = "a jsonb value has a form that came after this decoder"
                        return MALFORMED
                    p += 1
                    length -= 1
                if lenient and col.max_bytes and length > col.max_bytes:
                    _put_null(col, n)
                else:
                    room = col.offsets[n] + <int64_t>length
                    if room > col.capacity:
                        if n > 0 and self._size(n + 1) + added + length > self.batch_bytes:
                            return FULL
                        self.bad_column = i
                        self.bad_size = room
                        return GROW
                    memcpy(col.data + col.offsets[n], p, length)
                    col.offsets[n + 1] = <int32_t>room
                    added += length
            else:
                result = _put(col, n, p, length)
                if result != DONE:
                    if result == MALFORMED:
                        self.problem = "a value has an impossible form"
                        return MALFORMED
                    if not lenient:
                        return self._complain(i, UNFIT, length)
                    _put_null(col, n)
            p += length
        if n > 0 and self._size(n + 1) + added > self.batch_bytes:
            return FULL
        self.used += added
        self.rows += 1
        self.at += p - start
        return DONE

    cdef int _complain(self, int column, int reason, int64_t size) noexcept nogil:
        self.bad_column = column
        self.reason = reason
        self.bad_size = size
        return REFUSED


cdef inline bint _is_ready(int fd) noexcept nogil:
    """Whether something comes within ``WAIT_MILLISECONDS``, be it the end."""
    cdef pollfd waiting
    waiting.fd = fd
    waiting.events = POLLIN
    waiting.revents = 0
    return poll(&waiting, 1, WAIT_MILLISECONDS) > 0


cdef inline int _possible(int kind, int32_t length) noexcept nogil:
    """Whether a value of this kind may have so many bytes."""
    if kind == BYTES:
        return 1
    if kind == JSONB:
        return length >= 1
    if kind == DECIMAL128 or kind == DECIMAL256:
        return 8 <= length <= MAX_NUMERIC_BYTES
    if kind == BOOL:
        return length == 1
    if kind == WORD16:
        return length == 2
    if kind == WORD32 or kind == DATE:
        return length == 4
    if kind == UUID:
        return length == 16
    return length == 8


cdef inline void _copy_block(uint8_t* out, const uint8_t* p, int length) noexcept nogil:
    """Copy at most ``BLOCK_BYTES``, and more than there are: a copy of a known size is no call."""
    memcpy(out, p, 16)
    if length > 16:
        memcpy(out + 16, p + 16, 16)
        if length > 32:
            memcpy(out + 32, p + 32, 32)


cdef inline int _put(Col* col, int64_t n, const uint8_t* p, int32_t length) noexcept nogil:
    """Write a value of fixed width; DONE, REFUSED or MALFORMED."""
    cdef uint16_t two
    cdef uint32_t four
    cdef uint64_t eight
    cdef int32_t day
    cdef int64_t micro
    if col.kind == WORD64:
        eight = _u64(p)
        memcpy(col.data + 8 * n, &eight, 8)
    elif col.kind == WORD32:
        four = _u32(p)
        memcpy(col.data + 4 * n, &four, 4)
    elif col.kind == DECIMAL128:
        return _decimal(p, length, col, col.data + 16 * n)
    elif col.kind == DATE:
        day = <int32_t>_u32(p)
        if not FIRST_DAY <= day <= LAST_DAY:
            return REFUSED
        day += DAYS_TO_2000
        memcpy(col.data + 4 * n, &day, 4)
    elif col.kind == TIMESTAMP:
        micro = <int64_t>_u64(p)
        if not FIRST_MICRO <= micro <= LAST_MICRO:
            return REFUSED
        micro += MICROS_TO_2000
        memcpy(col.data + 8 * n, &micro, 8)
    elif col.kind == BOOL:
        if p[0] == 1:
            col.data[n >> 3] |= <uint8_t>(1 << (n & 7))
        elif p[0] == 0:
            col.data[n >> 3] &= <uint8_t>~(1 << (n & 7))
        else:
            return MALFORMED
    elif col.kind == WORD16:
        two = _u16(p)
        memcpy(col.data + 2 * n, &two, 2)
    elif col.kind == UUID:
        memcpy(col.data + 16 * n, p, 16)
    elif col.kind == TIME:
        micro = <int64_t>_u64(p)
        if not 0 <= micro < MICROS_PER_DAY:
            return REFUSED
        memcpy(col.data + 8 * n, &micro, 8)
    else:
        return _decimal(p, length, col, col.data + 32 * n)
    return DONE


cdef inline void _put_null(Col* col, int64_t n) noexcept nogil:
    col.valid[n >> 3] &= <uint8_t>~(1 << (n & 7))
    if col.kind >= BYTES:
        col.offsets[n + 1] = col.offsets[n]
    elif col.kind == BOOL:
        col.data[n >> 3] &= <uint8_t>~(1 << (n & 7))
    else:
        memset(col.data + col.width * n, 0, col.width)


cdef bint _has_nulls(const uint8_t* valid, int64_t n) noexcept nogil:
    cdef int64_t i
    cdef uint8_t rest = <uint8_t>((1 << (n & 7)) - 1)
    for i in range(n >> 3):
        if valid[i] != 0xFF:
            return True
    return (n & 7) != 0 and (valid[n >> 3] & rest) != rest


cdef bint _is_ascii(const Col* col, int64_t size) noexcept nogil:
    """Whether the values are of any length, and all of their bytes are ASCII."""
    cdef int64_t at = 0, end
    cdef uint64_t word, all_
    cdef uint8_t rest = 0
    if col.offsets == NULL:
        return False
    while at + ASCII_BLOCK_BYTES <= size:
        all_ = 0
        end = at + ASCII_BLOCK_BYTES
        while at < end:
            memcpy(&word, col.data + at, 8)
            all_ |= word
            at += 8
        if all_ & 0x8080808080808080ULL:
            return False
    while at < size:
        rest |= col.data[at]
        at += 1
    return rest < 0x80


_WIDTHS = {
    BOOL: 0,
    WORD16: 2,
    WORD32: 4,
    WORD64: 8,
    DATE: 4,
    TIME: 8,
    TIMESTAMP: 8,
    UUID: 16,
    DECIMAL128: 16,
    DECIMAL256: 32,
    BYTES: 0,
    JSONB: 0,
}

_WIRE = {BOOL: 1, WORD16: 2, WORD32: 4, WORD64: 8, DATE: 4, TIME: 8, TIMESTAMP: 8, UUID: 16}
