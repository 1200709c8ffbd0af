"""Systems for jobs that keep their queues in Redis: Celery, RQ, Huey and Sidekiq. BullMQ is in test_clients_node.py."""

import concurrent.futures

import pytest
from harness import clients

SYSTEMS = {
    "celery": ("python", {"tasks", "many tasks", "retries", "failures", "countdown", "chains", "chords", "revoked tasks",
                          "states and expiring results", "remote control"}),
    "rq": ("python", {"jobs", "failures", "retries", "dependencies", "schedules"}),
    "huey": ("python", {"priorities", "tasks", "retries", "failures", "delays", "locks"}),
    "sidekiq": ("ruby", {"jobs", "jobs in bulk", "retries", "failures", "scheduled jobs", "statistics"}),
}
# The real Redis says whether the program is right.
RUNS = [*((system, "standalone") for system in SYSTEMS), ("celery", "sentinel"), ("sidekiq", "sentinel"),
        *((system, "redis") for system in SYSTEMS)]
AT_ONCE = 3  # They wait most of the time: for delays that they test.


@pytest.fixture(scope="module")
def works(client_targets, peer):
    """What each run has checked, as a promise: (system, where) -> future. Those of one system use different servers."""
    targets = {"redis": client_targets("standalone", peer), "standalone": client_targets("standalone"),
               "sentinel": client_targets("sentinel")}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        yield {(system, where): pool.submit(clients.work, SYSTEMS[system][0], system, 3,
                                            "sentinel" if where == "sentinel" else "standalone", targets[where])
               for system, where in RUNS}


@pytest.mark.parametrize("system, where", RUNS)
def test_work(works, system, where):
    assert set(works[system, where].result()) >= SYSTEMS[system][1]
