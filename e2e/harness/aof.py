"""What a server has written into its append-only file: the effects of the commands it was sent."""

import io


class Log:
    """Reads the increments of a server's log, from where it was read last."""

    def __init__(self, server):
        self._directory = server.dir / "appendonlydir"
        self._read = {}

    def more(self):
        """The commands since the last time, each a list of words, without annotations."""
        found = []
        for path in sorted(self._directory.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3])):
            start = self._read.get(path.name, 0)
            with open(path, "rb") as log:
                log.seek(start)
                data = log.read()
            self._read[path.name] = start + len(data)
            found += _commands(data)
        return found


def effects(server):
    """All commands in a server's log."""
    return Log(server).more()


def _commands(data):
    found, stream = [], io.BytesIO(data)
    while line := stream.readline():
        if line.startswith(b"#"):
            continue
        assert line.startswith(b"*"), line[:80]
        command = []
        for _ in range(int(line[1:])):
            size = int(stream.readline()[1:])
            command.append(stream.read(size))
            stream.read(2)
        found.append(command)
    return found
