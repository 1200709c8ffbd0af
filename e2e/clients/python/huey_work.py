"""Huey: tasks, retries, delays, priorities and locks, done by a consumer in this process."""

import time

from huey import PriorityRedisHuey
from huey.exceptions import TaskException

from common import check_all, same, until


def work(options):
    host, port = options.addresses[0]
    huey = PriorityRedisHuey("work", host=host, port=port, password=options.password)
    huey.flush()
    order, tries = [], []

    @huey.task()
    def add(x, y):
        order.append(x)
        return x + y

    @huey.task(retries=2, retry_delay=0)
    def stubborn():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "at last"

    @huey.task()
    def broken():
        raise ValueError("broken")

    consumer = huey.create_consumer(workers=1, worker_type="thread", initial_delay=0.02, max_delay=0.1, scheduler_interval=1)
    consumer._set_signal_handlers = lambda: None

    def priorities():
        results = [add(n, 0, priority=n) for n in (1, 9, 5)]
        consumer.start()
        same([result.get(blocking=True, timeout=10) for result in results], [1, 9, 5])
        same(order, [9, 5, 1])

    def tasks():
        results = [add(n, n) for n in range(50)]
        same([result.get(blocking=True, timeout=10) for result in results], [2 * n for n in range(50)])

    def retries():
        result = stubborn()

        def succeeded():
            try:
                return result.get(preserve=True) == "at last"
            except TaskException:
                result.reset()  # Of a try that failed; the next one has another result.
                return False
        until("it has succeeded", succeeded)
        same(len(tries), 3)

    def failures():
        try:
            broken().get(blocking=True, timeout=10)
        except TaskException as error:
            assert "broken" in str(error)
        else:
            raise AssertionError("it did not fail")

    def delays():
        begun = time.monotonic()
        result = add.schedule((20, 22), delay=1)
        same(result.get(blocking=True, timeout=10), 42)
        assert time.monotonic() - begun >= 0.9

    def locks():
        with huey.lock_task("one"):
            assert huey.is_locked("one")
        assert not huey.is_locked("one")

    try:
        check_all(priorities, tasks, retries, failures, delays, locks)
    finally:
        consumer.stop(graceful=False)
