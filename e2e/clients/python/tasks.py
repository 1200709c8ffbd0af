"""The Celery application: run by a worker process, called by `celery_work`. The environment says where the broker is."""

import json
import os
import time

from celery import Celery

app = Celery("tasks")
app.conf.update(
    broker_url=os.environ["BROKER"],
    result_backend=os.environ["BROKER"],
    broker_transport_options=json.loads(os.environ["TRANSPORT"]),
    result_backend_transport_options=json.loads(os.environ["TRANSPORT"]),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_track_started=True,
    worker_hijack_root_logger=False,
    visibility_timeout=30,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def stubborn(self, successes_after):
    if self.request.retries < successes_after:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def broken():
    raise ValueError("broken")


@app.task
def now():
    return time.time()


@app.task
def slow(seconds):
    time.sleep(seconds)
    return "slept"


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"half": True})
    return "done"
