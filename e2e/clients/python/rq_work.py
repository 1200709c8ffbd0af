"""RQ: jobs, failures, retries, dependencies and schedules, done by a worker in this process."""

import datetime

import redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job
from rq.registry import FailedJobRegistry

from common import check_all, same, until
from jobs import add, broken, fails_at_first


def work(options):
    host, port = options.addresses[0]
    connection = redis.Redis(host, port, password=options.password, protocol=options.protocol)
    # docs: rq
    queue = Queue("work", connection=connection)
    worker = SimpleWorker([queue], connection=connection)
    # end

    def jobs():
        wanted = [queue.enqueue(add, n, n) for n in range(20)]
        worker.work(burst=True)
        same([job.return_value() for job in wanted], [2 * n for n in range(20)])

    def failures():
        job = queue.enqueue(broken)
        worker.work(burst=True)
        same(job.get_status(refresh=True), "failed")
        assert job.id in FailedJobRegistry(queue=queue)
        assert "ValueError: broken" in job.latest_result().exc_string

    def retries():
        job = queue.enqueue(fails_at_first, f"rq:{options.protocol}", host, port, options.password, retry=Retry(max=2))
        worker.work(burst=True)
        same(job.return_value(), "at last")

    def dependencies():
        first = queue.enqueue(add, 1, 1)
        second = queue.enqueue(add, 20, 22, depends_on=first)
        same(second.get_status(), "deferred")
        worker.work(burst=True)
        same(second.return_value(), 42)

    def schedules():
        job = queue.enqueue_in(datetime.timedelta(seconds=1), add, 1, 1)
        same(job.get_status(), "scheduled")

        def ran():
            worker.work(burst=True, with_scheduler=False)
            if job.id in queue.scheduled_job_registry.get_jobs_to_schedule():
                queue.scheduled_job_registry.remove(job)
                queue.enqueue_job(Job.fetch(job.id, connection=connection))
            return job.return_value() == 2
        until("it has run", ran)

    check_all(jobs, failures, retries, dependencies, schedules)
