"""Celery: a worker with Redis as broker and as result backend, and what applications ask of both."""

import json
import os
import pathlib
import subprocess
import sys
import time

from common import NAME, check_all, same, until

HERE = pathlib.Path(__file__).parent
RESULT_S = 20


def environment(options):
    if options.mode == "sentinel":
        urls = ";".join(f"sentinel://:{options.password}@{host}:{port}/0" for host, port in options.addresses)
        return {"BROKER": urls, "TRANSPORT": json.dumps({"master_name": NAME, "sentinel_kwargs": {"password": options.password}})}
    host, port = options.addresses[0]
    # docs: celery
    return {"BROKER": f"redis://:{options.password}@{host}:{port}/0", "TRANSPORT": "{}"}
    # end


def work(options):
    os.environ.update(environment(options))
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--pool", "threads",
                               "--loglevel", "WARNING", "--without-mingle"], cwd=HERE, stdin=subprocess.DEVNULL)
    try:
        ask()
    finally:
        worker.terminate()
        worker.wait(20)


def ask():
    from celery import chain, chord, group
    from celery.exceptions import TaskRevokedError
    from celery.result import AsyncResult
    from tasks import add, app, broken, now, progress, slow, stubborn, total

    def tasks():
        same([add.delay(n, n).get(RESULT_S) for n in range(20)], [2 * n for n in range(20)])

    def many_tasks():
        results = group(add.s(n, 1) for n in range(100)).apply_async()
        same(results.get(RESULT_S), list(range(1, 101)))

    def retries():
        same(stubborn.delay(2).get(RESULT_S), 2)

    def failures():
        result = broken.delay()
        try:
            result.get(RESULT_S)
        except ValueError as error:
            same(str(error), "broken")
        else:
            raise AssertionError("it did not fail")
        same(AsyncResult(result.id, app=app).state, "FAILURE")

    def countdown():
        asked = time.time()
        ran = now.apply_async(countdown=1).get(RESULT_S)
        assert ran - asked >= 0.9, f"after {ran - asked} s"

    def chains():
        same(chain(add.s(1, 1), add.s(10), add.s(30)).apply_async().get(RESULT_S), 42)

    def chords():
        same(chord((add.s(n, n) for n in range(10)), total.s()).apply_async().get(RESULT_S), 90)

    def revoked_tasks():
        result = add.apply_async((1, 1), countdown=3)
        until("the worker holds it", lambda: any(one["request"]["id"] == result.id for tasks in
                                                 (app.control.inspect(timeout=1).scheduled() or {}).values() for one in tasks))
        result.revoke()
        try:
            result.get(RESULT_S)
        except TaskRevokedError:
            return
        raise AssertionError("a revoked task ran")

    def states_and_expiring_results():
        result = progress.delay()
        same(result.get(RESULT_S), "done")
        lasting = app.backend.client.ttl(app.backend.get_key_for_task(result.id))
        assert 0 < lasting <= 24 * 3600, lasting
        result.forget()
        same(AsyncResult(result.id, app=app).state, "PENDING")

    def remote_control():
        (answer,) = app.control.ping(timeout=5, limit=1)
        same(list(answer.values()), [{"ok": "pong"}])
        started = slow.delay(1.5)
        until("it runs", lambda: any(one["id"] == started.id for tasks in (app.control.inspect(timeout=1).active() or {}).values()
                                     for one in tasks))
        same(started.get(RESULT_S), "slept")

    until("the worker answers", lambda: app.control.ping(timeout=0.5, limit=1))
    check_all(tasks, many_tasks, retries, failures, countdown, chains, chords, revoked_tasks, states_and_expiring_results,
              remote_control)
