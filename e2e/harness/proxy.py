"""A loopback proxy whose connections end by a reset after some bytes."""

import contextlib
import random
import socket
import struct
import threading

CHUNK = 16 * 1024
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards connections to a port of this machine. Each is reset once some bytes have come through it towards the client,
    at most `longest`, until `mend` is called. `seed` makes their numbers the same in each run."""

    def __init__(self, upstream, seed, longest):
        self._upstream = upstream
        self._random = random.Random(seed)
        self._longest = longest
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = set()
        self._lock = threading.Lock()
        self._mended = False
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def mend(self):
        """From now on connections last."""
        self._mended = True

    def close(self):
        """Nobody gets through any more."""
        self._listener.close()
        with self._lock:
            pairs = list(self._open)
        for pair in pairs:
            self._reset(pair)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            pair = client, server
            with self._lock:
                self._open.add(pair)
                # Some connections end in the handshake, some within a snapshot, some much later.
                budget = int(self._longest ** self._random.random())
            threading.Thread(target=self._pump, args=(client, server, pair, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, pair, budget), daemon=True).start()

    def _pump(self, source, sink, pair, budget):
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                cut = budget is not None and not self._mended and len(data) >= budget
                sink.sendall(data[:budget] if cut else data)
                if cut:
                    self.cuts += 1
                    break
                if budget is not None:
                    budget = max(budget - len(data), 0)
        self._reset(pair)

    def _reset(self, pair):
        with self._lock:
            if pair not in self._open:
                return
            self._open.remove(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RDWR)
            one.close()
