"""A flag that is set when the process ends.

Calls in other threads check it and give up at once, because the end of the interpreter takes down what they wait for.
"""

from __future__ import annotations

import threading

PROCESS_ENDING = threading.Event()
