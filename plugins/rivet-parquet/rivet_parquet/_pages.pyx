# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Turns flat Arrow arrays into the bodies of Parquet's pages.

Every position that is read comes from an array's own buffers: offsets of texts are compared with the size of the
buffer before use, the caller gives lengths that pyarrow vouches for.
"""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

# What the values of an array are, in Arrow.
cdef enum Source:
    BITS = 0
    INT8 = 1
    UINT8 = 2
    INT16 = 3
    UINT16 = 4
    FIXED = 5  # of `width` bytes, the same in the file
    DECIMAL = 6  # of 16 bytes; `width` of them, or as many as a big-endian number needs, go into the file
    TEXT = 7  # with offsets of 32 bits
    LARGE_TEXT = 8  # with offsets of 64 bits
    WIDE_DECIMAL = 9  # of 32 bytes; as many as a big-endian number needs go into the file

# How values compare.
cdef enum Order:
    NO_ORDER = 0
    SIGNED = 1
    UNSIGNED = 2
    FLOATING = 3
    BYTES = 4
    SIGNED_BYTES = 5  # big-endian numbers of two's complement

cdef enum Fault:
    FINE = 0
    NO_MEMORY = 1
    BAD_OFFSETS = 2
    TOO_LARGE = 3

# Copies of short values take steps of this size, so each buffer has that much room behind its end.
cdef enum:
    STEP = 16
    ALIGNMENT = 16
    # A dictionary of more bytes gains nothing; pyarrow's writer has the same bound.
    MAX_DICTIONARY_BYTES = 1 << 20
    FIRST_SLOTS = 1 << 10
    # Differences stand in blocks of so many, each part of them packed with a width of its own.
    BLOCK = 128
    PARTS = 4
    PART = 32
    # Integers that lie so close to the first one are found by their distance from it.
    NEAR = 1 << 16
    # So many steps to find a value on average say that the values were made to collide.
    MAX_STEPS_PER_VALUE = 32
    STEPS_BETWEEN_LOOKS = 1 << 16

cdef uint64_t GOLDEN = 0x9E3779B97F4A7C15ULL
cdef uint64_t MIXER = 0xD6E8FEB86659FD93ULL

cdef struct Bytes:
    uint8_t* at
    int64_t used
    int64_t room

# A value of a dictionary. `first` and `last` are its first and last bytes, all of them up to 16.
cdef struct Entry:
    uint64_t first
    uint64_t last
    int64_t start
    int64_t length
    uint32_t hash


cdef int reserve(Bytes* buffer, int64_t more) noexcept nogil:
    cdef int64_t need = buffer.used + more + STEP
    cdef void* at
    if need <= buffer.room:
        return FINE
    need += need >> 1
    at = realloc(buffer.at, <size_t>need)
    if at is NULL:
        return NO_MEMORY
    buffer.at = <uint8_t*>at
    buffer.room = need
    return FINE


cdef inline bint is_valid(const uint8_t* validity, int64_t i) noexcept nogil:
    return (validity[i >> 3] >> (i & 7)) & 1


cdef inline uint64_t load8(const uint8_t* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word


cdef inline uint32_t load4(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline uint64_t swapped(uint64_t x) noexcept nogil:
    x = ((x & 0x00FF00FF00FF00FFULL) << 8) | ((x >> 8) & 0x00FF00FF00FF00FFULL)
    x = ((x & 0x0000FFFF0000FFFFULL) << 16) | ((x >> 16) & 0x0000FFFF0000FFFFULL)
    return (x << 32) | (x >> 32)


cdef inline uint64_t leading(const uint8_t* at, int64_t length) noexcept nogil:
    """The first eight bytes as a number that compares as they do; zeros stand for what is missing."""
    cdef uint64_t word = 0
    if length >= 8:
        return swapped(load8(at))
    memcpy(&word, at, <size_t>length)
    return swapped(word)


cdef inline int put_varint(uint8_t* at, uint64_t value) noexcept nogil:
    cdef int n = 0
    while value >= 0x80:
        at[n] = <uint8_t>(value | 0x80)
        value >>= 7
        n += 1
    at[n] = <uint8_t>value
    return n + 1


ctypedef fused source_t:
    int8_t
    uint8_t
    int16_t
    uint16_t
    int32_t
    int64_t

ctypedef fused target_t:
    int32_t
    int64_t

ctypedef fused ordered_t:
    int32_t
    int64_t
    uint32_t
    uint64_t

ctypedef fused floating_t:
    float
    double


cdef int64_t take(const source_t* source, target_t* target, const uint8_t* validity, int64_t offset, int64_t n) noexcept nogil:
    """Write the values that are there, one after the other; return how many."""
    cdef int64_t i, k = 0
    source += offset
    if validity is NULL:
        for i in range(n):
            target[i] = <target_t>source[i]
        return n
    for i in range(n):
        target[k] = <target_t>source[i]
        k += is_valid(validity, offset + i)
    return k


cdef int64_t take_decimals(const int64_t* source, target_t* target, const uint8_t* validity, int64_t offset, int64_t n) noexcept nogil:
    """Write the low half of each decimal; return how many, or -1 if one needs more."""
    cdef int64_t i, k = 0, low, lost = 0
    cdef bint valid = True
    source += 2 * offset
    for i in range(n):
        low = source[2 * i]
        if validity is not NULL:
            valid = is_valid(validity, offset + i)
        target[k] = <target_t>low
        # The high half, and what of the low one is cut off, must repeat the sign of what is kept.
        if valid:
            lost |= (source[2 * i + 1] ^ (low >> 63)) | (<int64_t>(<target_t>low) ^ low)
        k += valid
    return -1 if lost else k


cdef int64_t take_wide_decimals(const uint8_t* source, int size, uint8_t* target, int width, const uint8_t* validity, int64_t offset, int64_t n) noexcept nogil:
    """Write each decimal of `size` bytes as a big-endian number of `width`; return how many, or -1 if one needs more."""
    cdef int64_t i, k = 0
    cdef int j, words_of_one = size // 8
    cdef uint64_t words[4]
    cdef uint8_t sign
    cdef uint8_t* value = <uint8_t*>words
    for i in range(offset, offset + n):
        if validity is not NULL and not is_valid(validity, i):
            continue
        for j in range(words_of_one):
            words[words_of_one - 1 - j] = swapped(load8(source + size * i + 8 * j))
        sign = 0xFF if value[size - width] & 0x80 else 0
        for j in range(size - width):
            if value[j] != sign:
                return -1
        memcpy(target + k * width, value + size - width, width)
        k += 1
    return k


cdef int64_t take_fixed(const uint8_t* source, uint8_t* target, int width, const uint8_t* validity, int64_t offset, int64_t n) noexcept nogil:
    cdef int64_t i, k = 0
    if validity is NULL:
        memcpy(target, source + offset * width, <size_t>(n * width))
        return n
    for i in range(offset, offset + n):
        if is_valid(validity, i):
            memcpy(target + k * width, source + i * width, width)
            k += 1
    return k


cdef void extremes(const ordered_t* values, int64_t n, ordered_t* least, ordered_t* greatest) noexcept nogil:
    cdef int64_t i
    cdef ordered_t low = least[0], high = greatest[0], value
    for i in range(n):
        value = values[i]
        low = value if value < low else low
        high = value if value > high else high
    least[0] = low
    greatest[0] = high


cdef bint floating_extremes(const floating_t* values, int64_t n, bint seen, double* least, double* greatest) noexcept nogil:
    """As `extremes`, without NaNs; return whether there was a value."""
    cdef int64_t i
    cdef double value
    for i in range(n):
        value = values[i]
        if value != value:
            continue
        if not seen:
            least[0] = greatest[0] = value
            seen = True
        elif value < least[0]:
            least[0] = value
        elif value > greatest[0]:
            greatest[0] = value
    return seen


cdef int hybrid(Bytes* out, const uint32_t* values, int64_t n, int width) noexcept nogil:
    """Append numbers of `width` bits in Parquet's mix of runs and packed groups of eight."""
    cdef int64_t i = 0, start, end, j, group
    cdef uint64_t pending
    cdef int bits, k
    cdef uint8_t* at
    cdef const uint32_t* eight
    if reserve(out, n * width // 8 + n // 2 + 64 + width) != FINE:
        return NO_MEMORY
    while i < n:
        start = i
        # Groups of eight that are no run of one value.
        while i + 8 <= n:
            eight = values + i
            if ((eight[0] ^ eight[1]) | (eight[0] ^ eight[2]) | (eight[0] ^ eight[3]) | (eight[0] ^ eight[4])
                    | (eight[0] ^ eight[5]) | (eight[0] ^ eight[6]) | (eight[0] ^ eight[7])) == 0:
                break
            i += 8
        at = out.at + out.used
        end = i if i + 8 <= n else n
        if end > start:
            at += put_varint(at, <uint64_t>((end - start + 7) // 8) << 1 | 1)
            pending = 0
            bits = 0
            for group in range(start, end, 8):
                if group + 8 <= end:
                    for k in range(8):
                        pending |= <uint64_t>values[group + k] << bits
                        bits += width
                        if bits >= 32:
                            memcpy(at, &pending, 4)
                            at += 4
                            pending >>= 32
                            bits -= 32
                else:
                    for k in range(8):
                        if group + k < end:
                            pending |= <uint64_t>values[group + k] << bits
                        bits += width
                        if bits >= 32:
                            memcpy(at, &pending, 4)
                            at += 4
                            pending >>= 32
                            bits -= 32
            while bits > 0:
                at[0] = <uint8_t>pending
                at += 1
                pending >>= 8
                bits -= 8
            i = end
        if i + 8 <= n:
            j = i + 8
            while j < n and values[j] == values[i]:
                j += 1
            at += put_varint(at, <uint64_t>(j - i) << 1)
            memcpy(at, &values[i], 4)
            at += (width + 7) // 8
            i = j
        out.used = at - out.at
    return FINE


cdef inline int put_zigzag(uint8_t* at, int64_t value) noexcept nogil:
    return put_varint(at, (<uint64_t>value << 1) ^ <uint64_t>(value >> 63))


cdef int bits_of(uint64_t value) noexcept nogil:
    cdef int n = 0
    while value:
        value >>= 1
        n += 1
    return n


cdef uint8_t* pack(uint8_t* at, const uint64_t* values, int width) noexcept nogil:
    """Write `PART` numbers of up to 64 bits; return where they end."""
    cdef uint64_t pending = 0
    cdef int bits = 0, k
    for k in range(PART):
        pending |= values[k] << bits
        if bits + width >= 64:
            memcpy(at, &pending, 8)
            at += 8
            pending = values[k] >> (64 - bits) if bits else 0
            bits += width - 64
        else:
            bits += width
    memcpy(at, &pending, 8)
    return at + bits // 8


cdef int deltas(Bytes* out, const target_t* values, int64_t n) noexcept nogil:
    """Append integers as DELTA_BINARY_PACKED. Differences wrap around as the integers do."""
    cdef int64_t i, start, least
    cdef int64_t differences[BLOCK]
    cdef uint64_t rest[BLOCK]
    cdef uint64_t every
    cdef int count, part, k
    cdef int widths[PARTS]
    cdef uint8_t* at
    if reserve(out, n * sizeof(target_t) + (n // BLOCK + 2) * (16 + PARTS + PARTS * 8) + PART * 8 * PARTS + 64) != FINE:
        return NO_MEMORY
    at = out.at + out.used
    at += put_varint(at, BLOCK)
    at += put_varint(at, PARTS)
    at += put_varint(at, <uint64_t>n)
    at += put_zigzag(at, values[0] if n else 0)
    start = 1
    while start < n:
        count = <int>(n - start) if n - start < BLOCK else BLOCK
        for k in range(count):
            i = start + k
            if target_t is int32_t:
                differences[k] = <int32_t>(<uint32_t>values[i] - <uint32_t>values[i - 1])
            else:
                differences[k] = <int64_t>(<uint64_t>values[i] - <uint64_t>values[i - 1])
        least = differences[0]
        for k in range(1, count):
            least = differences[k] if differences[k] < least else least
        for k in range(BLOCK):
            rest[k] = <uint64_t>differences[k] - <uint64_t>least if k < count else 0
        at += put_zigzag(at, least)
        for part in range(PARTS):
            every = 0
            for k in range(PART):
                every |= rest[part * PART + k]
            widths[part] = bits_of(every)
            at[part] = <uint8_t>widths[part]
        at += PARTS
        for part in range((count + PART - 1) // PART):
            if widths[part]:
                at = pack(at, rest + part * PART, widths[part])
        start += BLOCK
    out.used = at - out.at
    return FINE


cdef class Column:
    """Encodes one flat column, row group after row group, page after page. Its buffers are used again.

    Args:
        source: what the values are in Arrow.
        width: of a value in the file, in bytes; 0 for texts and bits.
        order: how values compare.
        nullable: whether pages have definition levels.
        delta: whether values without a dictionary are integers that stand as differences.
    """

    cdef int source
    cdef int width
    cdef int order
    cdef bint nullable
    cdef bint delta
    cdef Bytes body  # of the page: levels, then values, which are aligned, so that some bytes in front are no part of it
    cdef int64_t front
    cdef Bytes packed  # the levels as they stand in the page
    cdef Bytes scratch  # values without NULLs, in front of a dictionary, of differences and of bits
    cdef Bytes levels  # of the page, a number each
    cdef int64_t page_nulls
    # The dictionary: its values as they stand in its page, and where each is.
    cdef Bytes words
    cdef Bytes entries
    cdef Bytes codes
    cdef uint32_t* slots
    cdef int64_t slot_count
    cdef uint32_t* near
    cdef int64_t near_count
    cdef uint64_t near_start
    cdef int64_t coded
    cdef int64_t steps
    # What the values that were seen lie between.
    cdef bint seen
    cdef int64_t least
    cdef int64_t greatest
    cdef double floating_least
    cdef double floating_greatest
    cdef Bytes least_bytes
    cdef Bytes greatest_bytes

    def __cinit__(self, int source, int width, int order, bint nullable, bint delta=False):
        if delta and (source > DECIMAL or source == BITS or width not in (4, 8)):
            raise ValueError("only integers have differences")
        self.source = source
        self.delta = delta
        self.width = width
        self.order = order
        self.nullable = nullable

    def __dealloc__(self):
        for buffer in (
            <size_t>self.body.at, <size_t>self.scratch.at, <size_t>self.levels.at, <size_t>self.words.at,
            <size_t>self.entries.at, <size_t>self.codes.at, <size_t>self.least_bytes.at,
            <size_t>self.greatest_bytes.at, <size_t>self.packed.at, <size_t>self.slots, <size_t>self.near,
        ):
            free(<void*><size_t>buffer)

    def begin(self):
        """Begin a row group."""
        self.words.used = self.entries.used = self.codes.used = 0
        self.coded = self.steps = self.near_count = 0
        self.seen = False
        self.least_bytes.used = self.greatest_bytes.used = 0
        if self.slots is not NULL:
            memset(self.slots, 0, <size_t>self.slot_count * sizeof(uint32_t))

    def add_to_dictionary(self, size_t validity, size_t values, size_t data, int64_t data_bytes, int64_t offset, int64_t length):
        """Give a code to each value of an array.

        Returns:
            ``False`` if the values are too many; the column is to be written without a dictionary then.
        """
        cdef int fault
        cdef bint fits = True
        with nogil:
            fault = self._add(<const uint8_t*>validity, <const uint8_t*>values, <const uint8_t*>data, data_bytes, offset, length, &fits)
        _raise(fault)
        return fits and not self._collides()

    def coded_bytes(self):
        """Return what the dictionary and the codes take in the file, or a little more."""
        cdef int64_t codes = self.codes.used // 4
        return self.words.used + codes * self._code_bits() // 8

    def dictionary(self):
        """Return address, bytes and number of the dictionary's values, and see what they lie between."""
        cdef int fault = FINE
        cdef int64_t count = self.entries.used // <int64_t>sizeof(Entry)
        with nogil:
            if self.width:
                fault = self._observe(self.words.at, count)
            else:
                fault = self._observe_texts(&self.words, 0, count)
        _raise(fault)
        return <size_t>self.words.at, self.words.used, count

    def begin_page(self):
        """Begin a page."""
        self.body.used = self.levels.used = self.scratch.used = self.front = 0
        self.page_nulls = 0

    def add_levels(self, size_t validity, int64_t offset, int64_t length):
        """Append which values of an array are there; return how many are not."""
        cdef int64_t nulls
        with nogil:
            nulls = self._add_levels(<const uint8_t*>validity, offset, length)
        _raise(NO_MEMORY if nulls < 0 else FINE)
        return nulls

    def end_levels(self):
        """Write the levels: those of all arrays of the page come before the values."""
        cdef int fault = FINE
        if self.nullable:
            with nogil:
                fault = self._write_levels()
        _raise(fault)

    def add_values(self, size_t validity, size_t values, size_t data, int64_t data_bytes, int64_t offset, int64_t length):
        """Append the values of an array as they are."""
        cdef int fault
        with nogil:
            fault = self._append(<const uint8_t*>validity, <const uint8_t*>values, <const uint8_t*>data, data_bytes, offset, length)
        _raise(fault)

    def end_values(self):
        """Finish the page: bits and differences are packed when all are there."""
        cdef int fault = FINE
        if self.delta:
            with nogil:
                if self.width == 4:
                    fault = deltas[int32_t](&self.body, <const int32_t*>self.scratch.at, self.scratch.used // 4)
                else:
                    fault = deltas[int64_t](&self.body, <const int64_t*>self.scratch.at, self.scratch.used // 8)
        elif self.source == BITS:
            with nogil:
                fault = self._write_bits()
        _raise(fault)

    def add_codes(self, int64_t count):
        """Append the next ``count`` values by their codes, which is all values of the page."""
        cdef int fault
        if self.coded + count > self.codes.used // 4:
            raise ValueError("there are not so many values")
        with nogil:
            fault = self._write_codes(count)
        _raise(fault)

    def page(self):
        """Return address and size of the page's body, valid until the next one begins."""
        return <size_t>self.body.at + <size_t>self.front, self.body.used - self.front

    def bounds(self):
        """Return the least and the greatest value in their plain form, ``None`` where there is none."""
        cdef double low, high
        cdef float low4, high4
        if not self.seen or self.order == NO_ORDER:
            return None
        if self.source == BITS:
            return bytes([self.least]), bytes([self.greatest])
        if self.order in (BYTES, SIGNED_BYTES):
            return (
                (<const char*>self.least_bytes.at)[: self.least_bytes.used],
                (<const char*>self.greatest_bytes.at)[: self.greatest_bytes.used],
            )
        if self.order == FLOATING:
            # Zero has two signs that compare equal.
            low = -0.0 if self.floating_least == 0 else self.floating_least
            high = 0.0 if self.floating_greatest == 0 else self.floating_greatest
            if self.width == 8:
                return (<const char*>&low)[:8], (<const char*>&high)[:8]
            low4, high4 = <float>low, <float>high
            return (<const char*>&low4)[:4], (<const char*>&high4)[:4]
        return (<const char*>&self.least)[: self.width], (<const char*>&self.greatest)[: self.width]

    cdef int64_t _add_levels(self, const uint8_t* validity, int64_t offset, int64_t length) noexcept nogil:
        cdef int64_t i, there = 0
        cdef uint32_t* at
        if not self.nullable:
            return 0
        if reserve(&self.levels, length * 4) != FINE:
            return -1
        at = <uint32_t*>(self.levels.at + self.levels.used)
        self.levels.used += length * 4
        if validity is NULL:
            for i in range(length):
                at[i] = 1
            return 0
        for i in range(length):
            at[i] = is_valid(validity, offset + i)
            there += at[i]
        self.page_nulls += length - there
        return length - there

    cdef int _write_levels(self) noexcept nogil:
        cdef int64_t count = self.levels.used // 4
        cdef uint32_t size
        self.packed.used = 0
        if self.page_nulls == 0:
            if reserve(&self.packed, 16) != FINE:
                return NO_MEMORY
            self.packed.used = put_varint(self.packed.at, <uint64_t>count << 1)
            self.packed.at[self.packed.used] = 1
            self.packed.used += 1
        elif hybrid(&self.packed, <const uint32_t*>self.levels.at, count, 1) != FINE:
            return NO_MEMORY
        self.front = (ALIGNMENT - (4 + self.packed.used) % ALIGNMENT) % ALIGNMENT
        if reserve(&self.body, ALIGNMENT + 4 + self.packed.used) != FINE:
            return NO_MEMORY
        size = <uint32_t>self.packed.used
        memcpy(self.body.at + self.front, &size, 4)
        memcpy(self.body.at + self.front + 4, self.packed.at, <size_t>self.packed.used)
        self.body.used = self.front + 4 + self.packed.used
        return FINE

    cdef int _code_bits(self) noexcept nogil:
        cdef int width = 1  # some readers take no codes of no bits
        while (<int64_t>1 << width) * <int64_t>sizeof(Entry) < self.entries.used:
            width += 1
        return width

    cdef int _write_codes(self, int64_t count) noexcept nogil:
        cdef int width = self._code_bits()
        if reserve(&self.body, 64) != FINE:
            return NO_MEMORY
        self.body.at[self.body.used] = <uint8_t>width
        self.body.used += 1
        self.coded += count
        return hybrid(&self.body, <const uint32_t*>self.codes.at + self.coded - count, count, width)

    cdef int _append(self, const uint8_t* validity, const uint8_t* values, const uint8_t* data, int64_t data_bytes, int64_t offset, int64_t length) noexcept nogil:
        cdef Bytes* out = &self.scratch if self.delta else &self.body
        cdef int64_t start = out.used, count
        cdef int fault
        if self.source == BITS:
            return self._append_bits(validity, values, offset, length)
        if self.source == TEXT or self.source == LARGE_TEXT:
            fault = self._append_texts(&self.body, validity, values, data, data_bytes, offset, length, &count)
            if fault == FINE:
                fault = self._observe_texts(&self.body, start, count)
            return fault
        fault = self._append_fixed(out, validity, values, offset, length, &count)
        if fault == FINE:
            fault = self._observe(out.at + start, count)
        return fault

    cdef int _append_bits(self, const uint8_t* validity, const uint8_t* values, int64_t offset, int64_t length) noexcept nogil:
        # Values of several arrays follow each other without a gap, so bits are collected as numbers first.
        cdef int64_t i
        cdef uint8_t bit
        if reserve(&self.scratch, length) != FINE:
            return NO_MEMORY
        for i in range(offset, offset + length):
            if validity is NULL or is_valid(validity, i):
                bit = is_valid(values, i)
                self.scratch.at[self.scratch.used] = bit
                self.scratch.used += 1
                if not self.seen:
                    self.seen = True
                    self.least = self.greatest = bit
                elif bit < self.least:
                    self.least = bit
                elif bit > self.greatest:
                    self.greatest = bit
        return FINE

    cdef int _write_bits(self) noexcept nogil:
        cdef int64_t i
        cdef int64_t size = (self.scratch.used + 7) // 8
        if reserve(&self.body, size) != FINE:
            return NO_MEMORY
        memset(self.body.at + self.body.used, 0, <size_t>size)
        for i in range(self.scratch.used):
            self.body.at[self.body.used + (i >> 3)] |= <uint8_t>(self.scratch.at[i] << (i & 7))
        self.body.used += size
        self.scratch.used = 0
        return FINE

    cdef int _append_fixed(self, Bytes* out, const uint8_t* validity, const uint8_t* values, int64_t offset, int64_t length, int64_t* count) noexcept nogil:
        cdef int64_t k
        cdef uint8_t* at
        if reserve(out, length * self.width) != FINE:
            return NO_MEMORY
        at = out.at + out.used
        if self.source == INT8:
            k = take[int8_t, int32_t](<const int8_t*>values, <int32_t*>at, validity, offset, length)
        elif self.source == UINT8:
            k = take[uint8_t, int32_t](<const uint8_t*>values, <int32_t*>at, validity, offset, length)
        elif self.source == INT16:
            k = take[int16_t, int32_t](<const int16_t*>values, <int32_t*>at, validity, offset, length)
        elif self.source == UINT16:
            k = take[uint16_t, int32_t](<const uint16_t*>values, <int32_t*>at, validity, offset, length)
        elif self.source == DECIMAL and self.width == 4:
            k = take_decimals[int32_t](<const int64_t*>values, <int32_t*>at, validity, offset, length)
        elif self.source == DECIMAL and self.width == 8:
            k = take_decimals[int64_t](<const int64_t*>values, <int64_t*>at, validity, offset, length)
        elif self.source == DECIMAL:
            k = take_wide_decimals(values, 16, at, self.width, validity, offset, length)
        elif self.source == WIDE_DECIMAL:
            k = take_wide_decimals(values, 32, at, self.width, validity, offset, length)
        elif self.width == 4 and validity is not NULL:
            k = take[int32_t, int32_t](<const int32_t*>values, <int32_t*>at, validity, offset, length)
        elif self.width == 8 and validity is not NULL:
            k = take[int64_t, int64_t](<const int64_t*>values, <int64_t*>at, validity, offset, length)
        else:
            k = take_fixed(values, at, self.width, validity, offset, length)
        if k < 0:
            return TOO_LARGE
        out.used += k * self.width
        count[0] = k
        return FINE

    cdef int _append_texts(self, Bytes* out, const uint8_t* validity, const uint8_t* offsets, const uint8_t* data, int64_t data_bytes, int64_t offset, int64_t length, int64_t* count) noexcept nogil:
        cdef int64_t i, begin, end, size, k = 0, step
        cdef bint large = self.source == LARGE_TEXT
        cdef uint8_t* at
        cdef const uint8_t* value
        if length == 0:
            count[0] = 0
            return FINE
        end = (<const int64_t*>offsets)[offset] if large else (<const int32_t*>offsets)[offset]
        size = (<const int64_t*>offsets)[offset + length] if large else (<const int32_t*>offsets)[offset + length]
        if end < 0 or size < end or size > data_bytes:
            return BAD_OFFSETS
        if reserve(out, size - end + 4 * length) != FINE:
            return NO_MEMORY
        at = out.at + out.used
        data_bytes = size
        for i in range(offset, offset + length):
            begin = end
            end = (<const int64_t*>offsets)[i + 1] if large else (<const int32_t*>offsets)[i + 1]
            size = end - begin
            if size < 0 or end > data_bytes:
                return BAD_OFFSETS
            if validity is not NULL and not is_valid(validity, i):
                continue
            memcpy(at, &size, 4)
            at += 4
            value = data + begin
            if size <= 4 * STEP and begin + 4 * STEP <= data_bytes:
                # Whole steps: what they write too much, the next value overwrites.
                memcpy(at, value, STEP)
                step = STEP
                while step < size:
                    memcpy(at + step, value + step, STEP)
                    step += STEP
            else:
                memcpy(at, value, <size_t>size)
            at += size
            k += 1
        out.used = at - out.at
        count[0] = k
        return FINE

    cdef int _add(self, const uint8_t* validity, const uint8_t* values, const uint8_t* data, int64_t data_bytes, int64_t offset, int64_t length, bint* fits) noexcept nogil:
        cdef int64_t count = 0
        cdef int fault
        self.scratch.used = 0
        if self.source == TEXT or self.source == LARGE_TEXT:
            if reserve(&self.codes, length * 4) != FINE:
                return NO_MEMORY
            return self._code_texts(validity, values, data, data_bytes, offset, length, fits)
        fault = self._append_fixed(&self.scratch, validity, values, offset, length, &count)
        self.scratch.used = 0
        if fault != FINE:
            return fault
        if reserve(&self.codes, count * 4) != FINE:
            return NO_MEMORY
        return self._code_fixed(count, fits)

    cdef int _code_fixed(self, int64_t count, bint* fits) noexcept nogil:
        cdef int64_t i
        cdef uint64_t word, distance
        cdef uint32_t code
        cdef const uint8_t* at = self.scratch.at
        cdef uint32_t* codes = <uint32_t*>(self.codes.at + self.codes.used)
        cdef int width = self.width
        cdef int fault
        self.codes.used += 4 * count
        if count == 0:
            return FINE
        if self.slot_count == 0 and self._grow() != FINE:
            return NO_MEMORY
        if width != 4 and width != 8:
            for i in range(count):
                fault = self._find(at + i * width, width, False, codes + i, fits)
                if fault != FINE or not fits[0]:
                    return fault
            return FINE
        if self.near_count == 0:
            fault = self._look_near(load4(at) if width == 4 else load8(at))
            if fault != FINE:
                return fault
        for i in range(count):
            word = load4(at + 4 * i) if width == 4 else load8(at + 8 * i)
            distance = word - self.near_start
            code = self.near[distance] if distance < NEAR else 0
            if code:
                codes[i] = code - 1
                continue
            fault = self._find_word(at + i * width, word, codes + i, fits)
            if fault != FINE or not fits[0]:
                return fault
            if distance < NEAR:
                self.near[distance] = codes[i] + 1
        return FINE

    cdef int _look_near(self, uint64_t word) noexcept nogil:
        if self.near is NULL:
            self.near = <uint32_t*>malloc(NEAR * sizeof(uint32_t))
            if self.near is NULL:
                return NO_MEMORY
        memset(self.near, 0, NEAR * sizeof(uint32_t))
        self.near_start = word - NEAR // 2
        self.near_count = NEAR
        return FINE

    cdef int _find_word(self, const uint8_t* value, uint64_t word, uint32_t* code, bint* fits) noexcept nogil:
        cdef uint32_t hash = <uint32_t>((word * GOLDEN) >> 32)
        cdef uint32_t mask = <uint32_t>(self.slot_count - 1)
        cdef uint32_t slot = hash & mask
        cdef const Entry* entries = <const Entry*>self.entries.at
        while self.slots[slot]:
            if entries[self.slots[slot] - 1].first == word:
                code[0] = self.slots[slot] - 1
                return FINE
            slot = (slot + 1) & mask
            self.steps += 1
            if self.steps % STEPS_BETWEEN_LOOKS == 0 and self._collides():
                fits[0] = False
                return FINE
        return self._insert(slot, value, self.width, word, 0, hash, code, fits)

    cdef int _code_texts(self, const uint8_t* validity, const uint8_t* offsets, const uint8_t* data, int64_t data_bytes, int64_t offset, int64_t length, bint* fits) noexcept nogil:
        cdef int64_t i, begin, end
        cdef bint large = self.source == LARGE_TEXT
        cdef uint32_t* codes = <uint32_t*>(self.codes.at + self.codes.used)
        cdef int fault
        if self.slot_count == 0 and self._grow() != FINE:
            return NO_MEMORY
        if length == 0:
            return FINE
        end = (<const int64_t*>offsets)[offset] if large else (<const int32_t*>offsets)[offset]
        if end < 0:
            return BAD_OFFSETS
        for i in range(offset, offset + length):
            begin = end
            end = (<const int64_t*>offsets)[i + 1] if large else (<const int32_t*>offsets)[i + 1]
            if end < begin or end > data_bytes:
                return BAD_OFFSETS
            if validity is not NULL and not is_valid(validity, i):
                continue
            fault = self._find(data + begin, end - begin, begin + 16 <= data_bytes, codes, fits)
            if fault != FINE or not fits[0]:
                return fault
            codes += 1
            self.codes.used += 4
        return FINE

    cdef inline int _find(self, const uint8_t* value, int64_t length, bint padded, uint32_t* code, bint* fits) noexcept nogil:
        """Find a value or add it; if it is ``padded``, there are 16 bytes at its start, whatever its length."""
        cdef uint64_t first, last, mixed
        cdef uint64_t copy[2]
        cdef int64_t i
        cdef uint32_t hash, slot, mask = <uint32_t>(self.slot_count - 1)
        cdef const Entry* entry
        if length > 16:
            first = load8(value)
            last = load8(value + length - 8)
        else:
            if padded:
                first = load8(value)
                last = load8(value + 8)
            else:
                memset(copy, 0, 16)
                memcpy(copy, value, <size_t>length)
                first, last = copy[0], copy[1]
            first &= KEPT[16 + length]
            last &= KEPT[8 + length]
        mixed = (first ^ <uint64_t>length) * GOLDEN
        mixed = ((mixed ^ (mixed >> 32)) + last) * MIXER
        if length > 16:
            for i in range(8, length - 8, 8):
                mixed = ((mixed ^ (mixed >> 29)) + load8(value + i)) * GOLDEN
        hash = <uint32_t>(mixed >> 32)
        slot = hash & mask
        while self.slots[slot]:
            entry = <const Entry*>self.entries.at + (self.slots[slot] - 1)
            if entry.first == first and entry.last == last and entry.length == length:
                if length <= 16 or memcmp(self.words.at + entry.start, value, <size_t>length) == 0:
                    code[0] = self.slots[slot] - 1
                    return FINE
            slot = (slot + 1) & mask
            self.steps += 1
            if self.steps % STEPS_BETWEEN_LOOKS == 0 and self._collides():
                fits[0] = False
                return FINE
        return self._insert(slot, value, length, first, last, hash, code, fits)

    cdef int _insert(self, uint32_t slot, const uint8_t* value, int64_t length, uint64_t first, uint64_t last, uint32_t hash, uint32_t* code, bint* fits) noexcept nogil:
        cdef Entry* entry
        cdef int64_t count = self.entries.used // <int64_t>sizeof(Entry)
        if self.words.used + length + 4 > MAX_DICTIONARY_BYTES or self._collides():
            fits[0] = False
            return FINE
        if reserve(&self.words, length + 4) != FINE or reserve(&self.entries, sizeof(Entry)) != FINE:
            return NO_MEMORY
        if self.width == 0:
            memcpy(self.words.at + self.words.used, &length, 4)
            self.words.used += 4
        entry = <Entry*>self.entries.at + count
        entry.first = first
        entry.last = last
        entry.hash = hash
        entry.length = length
        entry.start = self.words.used
        memcpy(self.words.at + self.words.used, value, <size_t>length)
        self.words.used += length
        self.entries.used += sizeof(Entry)
        self.slots[slot] = <uint32_t>(count + 1)
        code[0] = <uint32_t>count
        if 2 * count >= self.slot_count:
            return self._grow()
        return FINE

    cdef inline bint _collides(self) noexcept nogil:
        return self.steps > MAX_STEPS_PER_VALUE * (FIRST_SLOTS + self.entries.used // <int64_t>sizeof(Entry) + self.codes.used // 4)

    cdef int _grow(self) noexcept nogil:
        cdef int64_t slots = 2 * self.slot_count if self.slot_count else FIRST_SLOTS
        cdef int64_t i
        cdef uint32_t slot, mask = <uint32_t>(slots - 1)
        cdef void* at = realloc(self.slots, <size_t>slots * sizeof(uint32_t))
        if at is NULL:
            return NO_MEMORY
        self.slots = <uint32_t*>at
        self.slot_count = slots
        memset(self.slots, 0, <size_t>slots * sizeof(uint32_t))
        for i in range(self.entries.used // <int64_t>sizeof(Entry)):
            slot = (<Entry*>self.entries.at)[i].hash & mask
            while self.slots[slot]:
                slot = (slot + 1) & mask
            self.slots[slot] = <uint32_t>(i + 1)
        return FINE

    cdef int _observe(self, const uint8_t* values, int64_t count) noexcept nogil:
        """Widen the bounds by values of a fixed width."""
        cdef int32_t low4, high4
        cdef uint32_t ulow4, uhigh4
        cdef int64_t i, low = 0, high = 0
        if count == 0:
            return FINE
        if self.order == BYTES or self.order == SIGNED_BYTES:
            for i in range(1, count):
                if self._precedes(values + i * self.width, self.width, values + low * self.width, self.width):
                    low = i
                elif self._precedes(values + high * self.width, self.width, values + i * self.width, self.width):
                    high = i
            return self._widen(values + low * self.width, self.width, values + high * self.width, self.width)
        if self.order == FLOATING:
            if self.width == 4:
                self.seen = floating_extremes[float](<const float*>values, count, self.seen, &self.floating_least, &self.floating_greatest)
            else:
                self.seen = floating_extremes[double](<const double*>values, count, self.seen, &self.floating_least, &self.floating_greatest)
            return FINE
        if not self.seen:
            self.least = self.greatest = 0
            memcpy(&self.least, values, self.width)
            memcpy(&self.greatest, values, self.width)
            self.seen = True
        if self.width == 4 and self.order == SIGNED:
            extremes[int32_t](<const int32_t*>values, count, <int32_t*>&self.least, <int32_t*>&self.greatest)
        elif self.width == 4:
            extremes[uint32_t](<const uint32_t*>values, count, <uint32_t*>&self.least, <uint32_t*>&self.greatest)
        elif self.order == SIGNED:
            extremes[int64_t](<const int64_t*>values, count, &self.least, &self.greatest)
        else:
            extremes[uint64_t](<const uint64_t*>values, count, <uint64_t*>&self.least, <uint64_t*>&self.greatest)
        return FINE

    cdef inline bint _precedes(self, const uint8_t* left, int64_t left_size, const uint8_t* right, int64_t right_size) noexcept nogil:
        cdef uint64_t a = leading(left, left_size), b = leading(right, right_size)
        cdef int64_t shorter
        cdef int different
        if self.order == SIGNED_BYTES:
            a ^= <uint64_t>1 << 63
            b ^= <uint64_t>1 << 63
        if a != b:
            return a < b
        shorter = left_size if left_size < right_size else right_size
        different = memcmp(left, right, <size_t>shorter)
        return different < 0 or (different == 0 and left_size < right_size)

    cdef int _observe_texts(self, Bytes* out, int64_t start, int64_t count) noexcept nogil:
        """Widen the bounds by texts, each behind its length."""
        cdef int64_t i
        cdef const uint8_t* at = out.at + start
        cdef const uint8_t* low
        cdef const uint8_t* high
        cdef int64_t low_size, high_size, size
        cdef uint64_t low_lead, high_lead, lead
        if count == 0:
            return FINE
        low = high = at + 4
        low_size = high_size = size = load4(at)
        low_lead = high_lead = leading(low, size)
        at += 4 + size
        for i in range(1, count):
            size = load4(at)
            at += 4
            # Behind a value of fewer bytes the buffer has room, and the zeros that stand for them come by the shift.
            lead = swapped(load8(at))
            if size < 8:
                lead = lead >> (64 - 8 * size) << (64 - 8 * size) if size else 0
            if lead <= low_lead and (lead < low_lead or self._precedes(at, size, low, low_size)):
                low, low_size, low_lead = at, size, lead
            if lead >= high_lead and (lead > high_lead or self._precedes(high, high_size, at, size)):
                high, high_size, high_lead = at, size, lead
            at += size
        return self._widen(low, low_size, high, high_size)

    cdef int _widen(self, const uint8_t* low, int64_t low_size, const uint8_t* high, int64_t high_size) noexcept nogil:
        if not self.seen or self._precedes(low, low_size, self.least_bytes.at, self.least_bytes.used):
            self.least_bytes.used = 0
            if reserve(&self.least_bytes, low_size) != FINE:
                return NO_MEMORY
            memcpy(self.least_bytes.at, low, <size_t>low_size)
            self.least_bytes.used = low_size
        if not self.seen or self._precedes(self.greatest_bytes.at, self.greatest_bytes.used, high, high_size):
            self.greatest_bytes.used = 0
            if reserve(&self.greatest_bytes, high_size) != FINE:
                return NO_MEMORY
            memcpy(self.greatest_bytes.at, high, <size_t>high_size)
            self.greatest_bytes.used = high_size
        self.seen = True
        return FINE


class ValueTooLarge(ValueError):
    """A decimal has more digits than its type."""


def _raise(int fault):
    if fault == NO_MEMORY:
        raise MemoryError
    if fault == BAD_OFFSETS:
        raise ValueError("offsets point outside of the data")
    if fault == TOO_LARGE:
        raise ValueTooLarge


# What of eight bytes the first `i - 16` ones keep, at `i`: nothing up to 16, everything from 24 on.
cdef uint64_t KEPT[33]
cdef uint32_t CRC[16][256]


def _fill():
    cdef uint32_t i, value
    cdef int j
    for i in range(256):
        value = i
        for j in range(8):
            value = (value >> 1) ^ (0xEDB88320U if value & 1 else 0)
        CRC[0][i] = value
    for i in range(33):
        KEPT[i] = 0 if i <= 16 else 0xFFFFFFFFFFFFFFFFULL if i >= 24 else (<uint64_t>1 << (8 * (i - 16))) - 1
    for i in range(256):
        for j in range(1, 16):
            CRC[j][i] = (CRC[j - 1][i] >> 8) ^ CRC[0][CRC[j - 1][i] & 0xFF]


_fill()


cdef inline uint32_t crc_of(uint64_t word, int last) noexcept nogil:
    """The checksum of eight bytes, the last of which stands ``last`` bytes before the end of a step."""
    return (
        CRC[last + 7][word & 0xFF] ^ CRC[last + 6][(word >> 8) & 0xFF] ^ CRC[last + 5][(word >> 16) & 0xFF]
        ^ CRC[last + 4][(word >> 24) & 0xFF] ^ CRC[last + 3][(word >> 32) & 0xFF]
        ^ CRC[last + 2][(word >> 40) & 0xFF] ^ CRC[last + 1][(word >> 48) & 0xFF] ^ CRC[last][word >> 56]
    )


def crc32(size_t address, int64_t n):
    """Return the checksum of ``n`` bytes, computed sixteen at a time."""
    cdef uint32_t crc = 0xFFFFFFFFU
    cdef int64_t i = 0
    cdef const uint8_t* at = <const uint8_t*>address
    with nogil:
        while i + 16 <= n:
            crc = crc_of(load8(at + i) ^ crc, 8) ^ crc_of(load8(at + i + 8), 0)
            i += 16
        while i < n:
            crc = (crc >> 8) ^ CRC[0][(crc ^ at[i]) & 0xFF]
            i += 1
    return crc ^ 0xFFFFFFFFU
