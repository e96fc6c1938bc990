"""Runs commands on a guest for `on_guest.py`: ``python guest_agent.py ADDRESS``, as the guest's first program.

A command ends with SIGKILL when the connection to the program that asked for it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, Listener
from threading import Thread

PORT = 7000


def obey(connection: Connection, process: subprocess.Popen[bytes]) -> None:
    """Pass input and signals on to a process until the connection ends."""
    assert process.stdin is not None
    try:
        while message := connection.recv_bytes():
            if message[:1] == b"s":
                process.send_signal(int(message[1:]))
            elif len(message) > 1:
                with suppress(BrokenPipeError):
                    os.write(process.stdin.fileno(), message[1:])
            else:
                process.stdin.close()
    except (EOFError, OSError):
        process.kill()


def serve(connection: Connection) -> None:
    """Run one command; send its output and then its status."""
    try:
        words, environ, folder = json.loads(connection.recv_bytes())
    except EOFError:  # somebody only asked whether the guest is there
        return
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, env=environ, cwd=folder, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
    Thread(target=obey, args=(connection, process), daemon=True).start()
    assert process.stdout is not None
    with suppress(OSError):
        while output := os.read(process.stdout.fileno(), 8192):
            connection.send_bytes(b"o" + output)
        connection.send_bytes(b"e%d" % process.wait())
    process.wait()
    connection.close()


def main(address: str) -> None:
    with Listener((address, PORT), backlog=16) as listener:
        while True:
            Thread(target=serve, args=(listener.accept(),), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
