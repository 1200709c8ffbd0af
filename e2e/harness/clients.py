"""The programs under `e2e/clients`: real client libraries at work. See e2e/clients/README.md for what they are told and say."""

import functools
import json
import os
import pathlib
import queue
import subprocess
import threading
import time

from .process import _die_with_parent
from .replicaset import PASSWORD, ReplicaSet, address

CLIENTS = pathlib.Path(__file__).resolve().parents[1] / "clients"
WORK_MAX_S = 100
STEP_MAX_S = 60
INSTALL_MAX_S = 900


@functools.cache
def installed(language):
    """The directory of what the language's programs need. It is made now, unless `./e2e/test` has done that."""
    done = subprocess.run([CLIENTS / "install", language], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=INSTALL_MAX_S)
    assert done.returncode == 0, f"{language} could not be had:\n{done.stderr}"
    return pathlib.Path(done.stdout.split()[1])


def program(language):
    """The command that starts the language's program, and its environment."""
    source, made = CLIENTS / language, installed(language)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    match language:
        case "node":
            return ["node", source / "main.js"], {**environment, "NODE_PATH": str(made / "node_modules")}
        case "python":
            return [made / "bin/python", source / "main.py"], environment
        case "java":
            return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp", f"{made}:{made}/lib/*", "Main"], environment
        case "ruby":
            return ["ruby", source / "main.rb"], environment
    return [made / "clients"], environment


def work(language, client, protocol, mode, addresses):
    """Runs the program's work, which must succeed; the names of what it has checked."""
    command, environment = program(language)
    done = subprocess.run([*command, "work", client, str(protocol), mode, PASSWORD, *addresses], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WORK_MAX_S,
                          preexec_fn=_die_with_parent)
    assert done.returncode == 0, f"{client} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [report["checked"] for report in reports]


class Follower:
    """A program that writes through one client object, whatever happens to the servers."""

    def __init__(self, language, client, protocol, mode, addresses):
        command, environment = program(language)
        self.client = client
        self._process = subprocess.Popen([*command, "follow", client, str(protocol), mode, PASSWORD, *addresses], env=environment,
                                         text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, preexec_fn=_die_with_parent)
        self._lines, self._seen = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()
        # Apart: what a library's threads log must not get into the midst of a report.
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _read_log(self):
        for line in self._process.stderr:
            self._seen.append(line)

    def report(self, field):
        """Waits for the next report that has this field."""
        deadline = time.monotonic() + STEP_MAX_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
                self._seen.append(f"nothing more within {STEP_MAX_S} s\n")
            assert line is not None, f"{self.client} did not report '{field}':\n{''.join(self._seen[-40:])}"
            self._seen.append(line)
            if line.startswith("{") and field in (report := json.loads(line)):
                return report

    def tell(self, line):
        try:
            self._process.stdin.write(line + "\n")
        except BrokenPipeError:
            pass  # It has ended: the next report will say so.

    def end(self):
        """Waits, after it was told `end`, until it has read everything back; its closing report."""
        report = self.report("acknowledged")
        assert self._process.wait(STEP_MAX_S) == 0, "".join(self._seen[-40:])
        return report

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def targets(servers, implementation, mode):
    """Servers for one mode, to be started once for many programs: the addresses for their command lines."""
    match mode:
        case "standalone":
            return [address(servers.start(implementation, {"requirepass": PASSWORD}))]
        case "sentinel":
            return [address(sentinel) for sentinel in ReplicaSet(servers, implementation).sentinels]
        case "cluster":
            return [address(shard[0]) for shard in ReplicaSet(servers, implementation, masters=3, replicas=1).shards]
    raise ValueError(mode)
