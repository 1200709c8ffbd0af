"""PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…: see ../README.md."""

import importlib
import sys

from common import Options

CLIENTS = {"redis-py": "redis_py", "celery": "celery_work", "rq": "rq_work", "huey": "huey_work"}


def main(job, client, protocol, mode, password, *addresses):
    options = Options(int(protocol), mode, password, [(host, int(port)) for host, port in (a.split(":") for a in addresses)])
    getattr(importlib.import_module(CLIENTS[client]), job)(options)


main(*sys.argv[1:])
