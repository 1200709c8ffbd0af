"""A raw RESP2/RESP3 connection: replies keep their type, so that two servers' answers can be compared exactly.

A reply is a tuple of its type byte and its content: ("+", b"OK"), ("$", None), ("*", [("$", b"a"), (":", 1)]),
("%", [(key, value), …]). Nothing is decoded or converted beyond integers.
"""

import socket

TIMEOUT_S = 10.0
CHUNK = 1 << 16


class Closed(Exception):
    """The server closed the connection."""


class Connection:
    def __init__(self, address, timeout=TIMEOUT_S):
        self._socket = socket.create_connection(address, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def close(self):
        self._socket.close()

    def send_raw(self, data):
        self._socket.sendall(data)

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = encode(word)
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.send_raw(b"".join(parts))

    def call(self, *words):
        self.send(*words)
        return self.read()

    def silent(self, seconds):
        """Whether nothing comes within that time."""
        if self._buffer:
            return False
        before = self._socket.gettimeout()
        self._socket.settimeout(seconds)
        try:
            self._fill()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(before)
        return False

    def _fill(self):
        data = self._socket.recv(CHUNK)
        if not data:
            raise Closed
        self._buffer += data

    def _line(self):
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 2]
        return line

    def _exactly(self, size):
        while len(self._buffer) < size + 2:
            self._fill()
        data = bytes(self._buffer[:size])
        assert self._buffer[size:size + 2] == b"\r\n", f"no CRLF after {size} bytes"
        del self._buffer[:size + 2]
        return data

    def read(self):
        line = self._line()
        kind, rest = chr(line[0]), line[1:]
        if kind in "+-,(":
            return kind, rest
        if kind == ":":
            return kind, int(rest)
        if kind == "#":
            return kind, {b"t": True, b"f": False}[rest]
        if kind == "_":
            return kind, None
        size = int(rest)
        if kind in "$=":
            return kind, None if size < 0 else self._exactly(size)
        if kind in "*~>":
            return kind, None if size < 0 else [self.read() for _ in range(size)]
        if kind in "%|":
            return kind, [(self.read(), self.read()) for _ in range(size)]
        raise AssertionError(f"not RESP: {line[:80]!r}")


def encode(word):
    return word if isinstance(word, bytes) else str(word).encode()
