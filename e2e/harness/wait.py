"""Waiting for a condition, never for a time: a bounded poll whose failure says what was last seen."""

import time

POLL_S = 0.02


class NotReached(AssertionError):
    """A condition did not come true in its time."""


def until(what, probe, timeout=10.0, poll=POLL_S, ignore=()):
    """Calls `probe` until it returns something true, and returns that.

    Exceptions of the types in `ignore`, and assertions, count as "not yet". After `timeout` seconds it raises
    NotReached, which names `what` and the last thing seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            seen = probe()
            if seen:
                return seen
        except (AssertionError, *ignore) as error:
            seen = error
        if time.monotonic() >= deadline:
            raise NotReached(f"not reached in {timeout:g} s: {what}; last seen: {seen!r}")
        time.sleep(poll)
