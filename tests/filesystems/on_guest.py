"""Runs a command on a guest as if it ran here: ``python on_guest.py ADDRESS WORD…``.

Input, output, exit status, SIGINT and SIGTERM pass through. If this program is killed, so is the command.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from multiprocessing.connection import Client, Connection
from threading import Thread
from typing import NoReturn

from guest_agent import PORT


def send_input(connection: Connection) -> None:
    """Send standard input; its end is an empty piece."""
    piece = b"-"
    while piece:
        piece = os.read(0, 8192)
        connection.send_bytes(b"i" + piece)


def main(address: str, words: list[str]) -> NoReturn:
    connection = Client((address, PORT))
    connection.send_bytes(json.dumps([words, dict(os.environ), os.getcwd()]).encode())  # noqa: PTH109
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: connection.send_bytes(b"s%d" % number))
    Thread(target=send_input, args=(connection,), daemon=True).start()
    while (message := connection.recv_bytes())[:1] == b"o":
        os.write(1, message[1:])
    status = int(message[1:])
    os._exit(status if status >= 0 else 128 - status)  # the other thread may still wait for input


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
