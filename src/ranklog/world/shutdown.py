"""A flag that is set when the process ends.

Calls in other threads check it and give up at once, because the connections that they wait for are about to disappear.
"""

from __future__ import annotations

import threading

PROCESS_ENDING = threading.Event()
