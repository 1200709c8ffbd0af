"""What a server has written into its append-only file: the effects of the commands it was sent."""

import io


def effects(server):
    """The commands in the increments of a server's log, each a list of words, without annotations."""
    directory = server.dir / "appendonlydir"
    increments = sorted(directory.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    return [command for path in increments for command in _commands(path.read_bytes())]


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
