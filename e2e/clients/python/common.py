"""What the programs share: where to go, reports as JSON lines, and waiting."""

import dataclasses
import json
import time

NAME = "orders"
WAIT_S = 20


@dataclasses.dataclass
class Options:
    """Where to go, and how."""
    protocol: int
    mode: str
    password: str
    addresses: list


def say(**report):
    print(json.dumps(report), flush=True)


def same(found, wanted):
    assert found == wanted, f"wanted {wanted!r}, found {found!r}"


def until(what, probe):
    deadline = time.monotonic() + WAIT_S
    while not (seen := probe()):
        assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
        time.sleep(0.02)
    return seen


def check_all(*parts):
    """Runs the parts of a piece of work in turn; each is reported once it has passed, by its function's name."""
    for part in parts:
        part()
        say(checked=part.__name__.replace("_", " "))
