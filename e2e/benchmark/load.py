"""Runs the load generator (the workspace's program `load`)."""

import contextlib
import json
import os
import subprocess

from .peers import on_core

LIMIT_S = 900.0


class LoadFailed(Exception):
    """The generator ended with an error, or the server answered with one."""


def _words(mode, server, commands, options):
    words = [os.environ["LOAD_BIN"], mode, "--port", str(server.port), "--pid", str(server.pid)]
    for command in commands:
        words += ["--command", command]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return words


def _result(text, words, check):
    figures = json.loads(text)
    if check and figures["errors"]:
        raise LoadFailed(f"{' '.join(words)}: {figures['errors']} errors: {figures['first_error']}")
    return figures


def run(mode, server, commands, pinned=True, check=True, **options):
    """One run of `closed` or `open` load; its figures. Options are those of the program."""
    words = _words(mode, server, commands, options)
    with on_core(1, pinned):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    if process.returncode != 0:
        raise LoadFailed(f"{' '.join(words)}: {err.strip()}")
    return _result(out, words, check)


def fill(server, commands, count, pipeline=100, clients=10):
    """Sends each command `count` times, with {i} from 0 on: a dataset."""
    total = count * len(commands)
    return run("closed", server, commands, clients=min(clients, max(1, total // pipeline)),
               pipeline=min(pipeline, total), count=total)


class Background:
    """Load that runs while something else is done; its figures are in `result` afterwards."""

    def __init__(self, mode, server, commands, seconds=LIMIT_S, **options):
        self._words = _words(mode, server, commands, {"seconds": seconds, "warmup": 0.1, **options, "until_eof": True})
        self._process = None
        self.result = None

    def __enter__(self):
        with on_core(1):
            self._process = subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind, *_):
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdin = None
            out, err = self._process.communicate(timeout=60)
        finally:
            self._process.kill()
        if kind is None:
            if self._process.returncode != 0:
                raise LoadFailed(f"{' '.join(self._words)}: {err.strip()}")
            self.result = _result(out, self._words, check=True)
