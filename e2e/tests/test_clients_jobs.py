"""Systems for jobs that keep their queues in Redis: Celery, RQ, Huey and Sidekiq. BullMQ is in test_clients_node.py."""

import pytest
from harness import clients

SYSTEMS = {
    "celery": ("python", {"tasks", "many tasks", "retries", "failures", "countdown", "chains", "chords", "revoked tasks",
                          "states and expiring results", "remote control"}),
    "rq": ("python", {"jobs", "failures", "retries", "dependencies", "schedules"}),
    "huey": ("python", {"priorities", "tasks", "retries", "failures", "delays", "locks"}),
    "sidekiq": ("ruby", {"jobs", "jobs in bulk", "retries", "failures", "scheduled jobs", "statistics"}),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_work(client_targets, system):
    language, wanted = SYSTEMS[system]
    assert set(clients.work(language, system, 3, "standalone", client_targets("standalone"))) >= wanted


@pytest.mark.parametrize("system", ["celery", "sidekiq"])
def test_work_behind_sentinels(client_targets, system):
    language, wanted = SYSTEMS[system]
    assert set(clients.work(language, system, 3, "sentinel", client_targets("sentinel"))) >= wanted


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_program_is_right_says_redis(client_targets, peer, system):
    language, wanted = SYSTEMS[system]
    assert set(clients.work(language, system, 3, "standalone", client_targets("standalone", peer))) >= wanted
