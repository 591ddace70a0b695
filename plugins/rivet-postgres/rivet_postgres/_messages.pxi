"""Takes the rows of a COPY out of the server's messages, as they come from its socket (manual, "Message Formats").

The messages of the copy itself stay here: CopyOutResponse, CopyData, CopyDone. All others are set aside for whoever
owns the connection, in their order; to that one the statement has no rows. What the server sends is read as if an enemy
had written it.
"""

cdef enum:
    RECEIVE_BYTES = 1 << 18
    MESSAGE_BYTES = 5                 # a message's head: its type, and the length of all that follows the type
    MAX_DATA_BYTES = 0x40000004       # the server's own bound of an allocation, and the head
    MAX_ASIDE_BYTES = 1 << 24

# Where the dialog stands.
cdef enum:
    ASKED = 0
    COPYING = 1
    COPIED = 2
    TOLD = 3         # the statement is complete or has failed
    READY = 4        # for the next one


@cython.final
cdef class Messages:
    """Messages out of a buffer of ``RECEIVE_BYTES`` that a socket fills; behind it ``slack`` bytes may be read."""

    cdef int fd
    cdef int stage
    cdef uint8_t* room
    cdef int64_t at, end         # of what has come and is not yet taken
    cdef int64_t left            # bytes of the message that has been begun
    cdef bint copied             # that message is CopyData
    cdef const char* problem

    def __cinit__(self, int slack):
        self.room = <uint8_t*>calloc(RECEIVE_BYTES + slack, 1)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    cdef void begin(self, int fd) noexcept nogil:
        """Expect the answer to a statement."""
        self.fd = fd
        self.stage = ASKED
        self.at = self.end = self.left = 0

    cdef int receive(self) noexcept nogil:
        """Take what has come behind what is left; DONE, SHORT where nothing has, FAILED where nothing will."""
        cdef ssize_t count
        if self.at > 0:
            memmove(self.room, self.room + self.at, self.end - self.at)
            self.end -= self.at
            self.at = 0
        while True:
            count = recv(self.fd, self.room + self.end, RECEIVE_BYTES - self.end, MSG_DONTWAIT)
            if count > 0:
                self.end += count
                return DONE
            if count == 0:
                return FAILED
            if errno == EAGAIN:
                return SHORT
            if errno != EINTR:
                return FAILED

    cdef int take(self, const uint8_t** bytes_, int64_t* length) noexcept nogil:
        """Point to the next bytes of the copy (DONE) or of a message that is set aside (ASIDE).

        CopyData comes as a whole where the buffer can hold it. SHORT asks for more input, OVER says that the dialog has
        ended, MALFORMED that it is none. The bytes stay where they are until more is received.
        """
        cdef const uint8_t* p = self.room + self.at
        cdef int64_t come = self.end - self.at, size
        cdef int result
        if self.left == 0 and self.stage == COPYING and come >= MESSAGE_BYTES and p[0] == c'd':
            # Nearly always: CopyData that has come as a whole.
            size = 1 + <int64_t>_u32(p + 1)
            if MESSAGE_BYTES < size <= come:
                bytes_[0] = p + MESSAGE_BYTES
                length[0] = size - MESSAGE_BYTES
                self.at += size
                return DONE
        while True:
            if self.left == 0:
                if self.stage == READY:
                    if self.at == self.end:
                        return OVER
                    self.left = self.end - self.at  # not of this statement
                    self.copied = False
                else:
                    result = self._begin_message()
                    if result != DONE:
                        return result
                    if self.left == 0:
                        continue
            if self.at == self.end:
                return SHORT
            bytes_[0] = self.room + self.at
            length[0] = min(self.left, self.end - self.at)
            self.at += length[0]
            self.left -= length[0]
            return DONE if self.copied else ASIDE

    cdef int _begin_message(self) noexcept nogil:
        """Read a message's head: DONE leaves ``left`` bytes to take, none where the message has been dealt with."""
        cdef const uint8_t* p = self.room + self.at
        cdef int64_t come = self.end - self.at, size
        cdef char kind
        if come < MESSAGE_BYTES:
            return SHORT
        kind = <char>p[0]
        size = 1 + <int64_t>_u32(p + 1)
        if not self._is_expected(kind):
            self.problem = "a message is out of place"
            return MALFORMED
        if size < MESSAGE_BYTES or size > (MAX_DATA_BYTES if kind == c'd' else MAX_ASIDE_BYTES):
            self.problem = "a message has an impossible length"
            return MALFORMED
        if kind == c'd':
            if come < size <= RECEIVE_BYTES:
                return SHORT
            self.at += MESSAGE_BYTES
            self.left = size - MESSAGE_BYTES
            self.copied = True
            return DONE
        if kind == c'H':
            return self._begin_copy(p, come, size)
        if kind == c'c':
            if size != MESSAGE_BYTES:
                self.problem = "a message has an impossible length"
                return MALFORMED
            self.at += MESSAGE_BYTES
            self.stage = COPIED
            return DONE
        if kind == c'C' or kind == c'E':
            self.stage = TOLD
        elif kind == c'Z':
            self.stage = READY
        self.left = size
        self.copied = False
        return DONE

    cdef int _begin_copy(self, const uint8_t* p, int64_t come, int64_t size) noexcept nogil:
        """Read CopyOutResponse: the format of the whole, and of each column."""
        if size < MESSAGE_BYTES + 3 or size > RECEIVE_BYTES:
            self.problem = "a message has an impossible length"
            return MALFORMED
        if come < size:
            return SHORT
        if p[MESSAGE_BYTES] != 1:
            self.problem = "the copy is not binary"
            return MALFORMED
        self.at += size
        self.stage = COPYING
        return DONE

    cdef bint _is_expected(self, char kind) noexcept nogil:
        """Whether a message of this type may come now."""
        if kind == c'd' or kind == c'c':
            return self.stage == COPYING
        if kind == c'1' or kind == c'2' or kind == c'n' or kind == c'H':
            return self.stage == ASKED
        if kind == c'C':
            return self.stage == COPIED or self.stage == ASKED
        if kind == c'Z':
            return self.stage == TOLD
        return kind == c'E' or kind == c'N' or kind == c'S' or kind == c'A'
