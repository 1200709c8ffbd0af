"""Runs Redis' own test suite, as the distribution's source package has it, against the data server and the sentinel.

The binary is called by Redis' names from a copy of the suite's tree. Tests that ask for what the data server does not
have are left out by name; docs/redis-suite.md lists them with the reasons, and is where they are read from. Each file
of tests runs alone, some of them side by side; the suite of Sentinel, which counts as one file, comes last.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXCEPTIONS = ROOT / "docs" / "redis-suite.md"
# A row of its table: | file | test, or all, or those with a tag | why |
ROW = re.compile(r"^\| `([a-z0-9/-]+)` \| (all|tag )?(?:`(.+)`)? \| .+ \|$", re.MULTILINE)
PROGRAMS = ("redis-server", "redis-sentinel", "redis-cli", "redis-check-aof", "redis-check-rdb")
FILE_TIMEOUT_S = 1200
# Without any progress for so long, the suite gives up a test: one of them has a replica begin its sync a hundred times.
TEST_TIMEOUT_S = 600
FIRST_PORT = 20000
PORTS_EACH = 300
# The suite of Sentinel: a program of its own, which runs all its tests one after the other.
SENTINEL = "sentinel"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LeftOut:
    """What is left out of a file."""

    def __init__(self):
        self.all, self.tests, self.tags = False, [], []

    def __len__(self):
        return len(self.tests) + len(self.tags) + self.all


def exceptions():
    """By file."""
    found = collections.defaultdict(LeftOut)
    for file, kind, name in ROW.findall(EXCEPTIONS.read_text()):
        if kind == "all":
            found[file].all = True
        else:
            (found[file].tags if kind else found[file].tests).append(name)
    return found


def files(suite):
    """All files of tests, those that take long first."""
    helper = (suite / "tests/test_helper.tcl").read_text()
    names = re.search(r"set ::all_tests \{(.*?)\}", helper, re.DOTALL).group(1).split()
    return sorted(names, key=lambda name: not name.startswith("integration/"))


class Tree:
    """A copy of the suite with the data server in the place of Redis' programs."""

    def __init__(self, suite, binary, number):
        self._dir = tempfile.TemporaryDirectory(prefix="redis-suite-")
        self.path = pathlib.Path(self._dir.name)
        self.port = FIRST_PORT + number * PORTS_EACH
        shutil.copytree(suite, self.path, dirs_exist_ok=True)
        programs = self.path / "src"
        programs.mkdir()
        shutil.copy(binary, programs / "datanode")
        for name in PROGRAMS:
            os.symlink("datanode", programs / name)
        os.symlink(shutil.which("redis-benchmark"), programs / "redis-benchmark")

    def run(self, file, left_out):
        """Runs one file; passed, failures with what the suite says of them, seconds."""
        if file == SENTINEL:
            return self._run(["tclsh", "tests/sentinel/run.tcl"], r"^[\d:]+> .*: OK$", r"^.*(?:FAILED: |WARNING: Aborting).*")
        skip = self.path / "left-out"
        skip.write_text("\n".join(left_out.tests))
        command = [
            "tclsh", "tests/test_helper.tcl", "--single", file, "--clients", "1", "--baseport", str(self.port),
            "--portcount", str(PORTS_EACH), "--timeout", str(TEST_TIMEOUT_S), "--skipfile", str(skip), "--tags", " ".join(f"-{tag}" for tag in left_out.tags),
        ]  # fmt: skip
        return self._run(command, r"^\[ok\]", r"^\[(?:err|exception|TIMEOUT)\]:? .*\n.*")

    def _run(self, command, good, bad):
        """Runs a program of the suite; `good` and `bad`: what it writes for a test that passes, or fails."""
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=FILE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            # What it started is in its session's process group.
            os.killpg(process.pid, 9)
            output = process.communicate()[0] + f"\n[exception]: not done after {FILE_TIMEOUT_S} s"
        output = COLOUR.sub("", output)
        passed = len(re.findall(good, output, re.MULTILINE))
        failures = re.findall(bad, output, re.MULTILINE)
        if process.returncode != 0 and not failures:
            failures = [f"exit code {process.returncode}: {output[-2000:]}"]
        return passed, failures, time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="such as unit/type/list, or sentinel; all without")
    parser.add_argument("--suite", type=pathlib.Path, required=True, help="where the suite is")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the data server")
    parser.add_argument("--workers", type=int, default=4, help="files at a time")
    asked = parser.parse_args()
    left_out = exceptions()
    begun = time.monotonic()
    trees = [Tree(asked.suite, asked.binary, n) for n in range(asked.workers)]
    passed = failed = 0

    def run(file):
        tree = trees.pop()
        try:
            return file, tree.run(file, left_out[file])
        finally:
            trees.append(tree)

    wanted = asked.files or [*files(asked.suite), SENTINEL]
    skipped = sum(len(left_out[file]) for file in wanted)
    wanted = [file for file in wanted if not left_out[file].all]
    def report(file, outcome):
        nonlocal passed, failed
        ok, failures, seconds = outcome
        passed += ok
        failed += len(failures)
        print(f"{file}: {ok} passed, {len(failures)} failed, {seconds:.0f} s", flush=True)
        for failure in failures:
            print(f"FAILED {file} {failure}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(asked.workers) as pool:
        beside = [pool.submit(run, file) for file in wanted if file != SENTINEL]
        for done in concurrent.futures.as_completed(beside):
            report(*done.result())
    if SENTINEL in wanted:
        report(*run(SENTINEL))
    print(f"=== {failed} failed, {passed} passed, {skipped} skipped in {time.monotonic() - begun:.1f}s ===")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
