"""A process that has imported everything and forks a child a run: twenty killed runs pay once for that.

with RunServer() as server:
    run = server.start(argv, said=tmp_path / "said.txt")
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
"""

import atexit
import functools
import json
import os
import resource
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass
class Run:
    """A run of train_dreambooth.py in a process of its own."""

    pid: int
    server: "RunServer"

    def is_over(self, seconds: float) -> bool:
        """Wait at most so long; whether the run is over."""
        return bool(select.select([self.server.process.stdout], [], [], seconds)[0])

    def wait(self) -> int:
        """Wait for the end; the exit code, or minus the number of the signal."""
        return int(self.server.read())


class RunServer:
    """Starts runs, one at a time."""

    def __init__(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        # Each thread would reserve memory of its own, which a limit on memory counts.
        environment["MALLOC_ARENA_MAX"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self.read() == "0\n"

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def start(
        self, argv: list[str], said: Path, *, file_bytes: int | None = None, more_bytes: int | None = None
    ) -> Run:
        """Start a run.

        Args:
            argv: of train_dreambooth.py.
            said: file for what it prints.
            file_bytes: no file can grow beyond that, as on a disk that is full.
            more_bytes: of memory that the run can take, beside what it starts with.
        """
        order = {"argv": argv, "said": str(said), "file_bytes": file_bytes, "more_bytes": more_bytes}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        return Run(int(self.read()), self)

    def run(self, argv: list[str], said: Path, **options) -> int:
        """Run to the end; the exit code."""
        return self.start(argv, said, **options).wait()

    def read(self) -> str:
        """One line from the server, unbuffered: `select` must see what is not yet read."""
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.process.stdout.fileno(), 1)
        return line.decode()


@functools.cache
def run_server() -> RunServer:
    """The one server of this process."""
    server = RunServer()
    atexit.register(server.close)
    return server


def serve() -> None:
    """Fork a run for each line on standard input; write its number, and how it ended."""
    # What a run imports late; nothing is computed here, so that a fork inherits no thread.
    from persam_dreambooth import dreambooth  # noqa: F401 # imported to be there
    from train_dreambooth import main

    tell(0)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(main, **order)
        tell(pid)
        _, status = os.waitpid(pid, 0)
        tell(os.waitstatus_to_exitcode(status))


def tell(number: int) -> None:
    """Write a line for the other side."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def child(main, argv: list[str], said: str, file_bytes: int | None, more_bytes: int | None) -> None:
    """Be the run."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(handle, number)
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    if more_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    code = 0
    try:
        main(argv)
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
