"""Processes of the real-client tests: each on free ports of loopback, its output in a file, stopped by its id."""

import atexit
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """A child process with its output in a file, stopped by its id."""

    def __init__(self, arguments, log, env=None, cwd=None):
        self.log = Path(log)
        self.arguments = [str(argument) for argument in arguments]
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=cwd
            )
        # A test that fails half-way leaves nothing running.
        atexit.register(lambda: self.child.poll() is None and self.child.kill())

    def wait_for(self, what, ready, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if ready():
                return
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come up:\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self, how=signal.SIGTERM, seconds=40):
        if self.child.poll() is None:
            self.child.send_signal(how)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise

    def kill(self):
        """The end of a server of which nothing is kept: some wait ten seconds for their clients."""
        return self.stop(signal.SIGKILL)


def answers(url, accepted=(200,)):
    try:
        return requests.get(url, timeout=2).status_code in accepted
    except requests.RequestException:
        return False
