"""Where settling has its jobs run, and what it says meanwhile: here, in a process of its own, or on a device."""

import json
import os
import subprocess
import sys
from typing import Any, Dict, List, Mapping, Sequence

from .files import read_json, write_json
from .machine import describe
from .process import command


class JobError(RuntimeError):
    """The measurement itself ended, in one line."""


class JobRunner(object):
    """Runs jobs (explained in coordinator.py). Files are given by `take` before a job names them."""

    def facts(self) -> Mapping[str, Any]:
        """What `describe` says of the machine that measures."""
        raise NotImplementedError

    def take(self, path: str, name: str) -> str:
        """The name by which a job knows the file at `path`; `name` is relative, the same for the same file."""
        raise NotImplementedError

    def place(self, name: str) -> str:
        """The name by which a job knows a folder that it writes."""
        raise NotImplementedError

    def run(self, job: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """The job's result. `what`: what it is for, in words. Raises JobError."""
        raise NotImplementedError

    def fetch(self, names: Sequence[str]) -> List[str]:
        """Files that a job wrote, here."""
        raise NotImplementedError


class LocalRunner(JobRunner):
    """This machine, in a process of its own; `work` is a folder for what jobs write."""

    def __init__(self, work: str) -> None:
        self.work = work

    def facts(self) -> Mapping[str, Any]:
        return describe()

    def take(self, path: str, name: str) -> str:
        return os.path.abspath(path)

    def place(self, name: str) -> str:
        return os.path.join(self.work, *name.split("/"))

    def run(self, job: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        path = os.path.join(self.work, "job.json")
        write_json(path, job)
        process = subprocess.Popen(
            command("run", path, "--parent", str(os.getpid())),
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told = json.loads(line)["progress"]
                text = "%s: %s %s %d/%d" % (what, told["stage"], told["entry"], told["done"], told["total"])
                sys.stderr.write("\r%-78s" % text[:78])
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
            sys.stderr.write("\r%-78s\r" % "")
        if code != 0:
            raise JobError("the measurement ended with exit code %d" % code)
        result: Dict[str, Any] = read_json(os.path.join(self.work, "result.json"))
        return result

    def fetch(self, names: Sequence[str]) -> List[str]:
        return [os.path.join(self.work, name) for name in names]
