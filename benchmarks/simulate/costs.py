"""Input of the model: costs of a message, and delays of a rank that shares its processor with training."""

from __future__ import annotations

import msgspec

FLOAT_BYTES = 8


class Costs(msgspec.Struct, frozen=True):
    """Deterministic times, in seconds.

    Attributes:
        send_s: Processor time of the sender of a message.
        receive_s: Processor time of its receiver.
        wire_node_s: Time from the sender's last instruction to the receiver's first one, within a node.
        wire_net_s: The same between nodes.
        byte_node_s: Time per byte within a node.
        byte_net_s: Time per byte between nodes.
        call_s: Time from a call to its first message.
        wake_s: Wake-up delay of a sleeping thread.
        first_ask_s: First pause of a thread that polls for the end of a collective; 0 without polling.
        ask_factor: Growth factor of the pauses.
        last_ask_s: Longest pause.
    """

    send_s: float
    receive_s: float
    wire_node_s: float
    wire_net_s: float
    byte_node_s: float = 0.0
    byte_net_s: float = 0.0
    call_s: float = 0.0
    wake_s: float = 0.0
    first_ask_s: float = 0.0
    ask_factor: float = 1.5
    last_ask_s: float = 0.01


class Delays(msgspec.Struct, frozen=True):
    """Random delays that a busy machine adds to single messages and calls.

    Attributes:
        message_s: Mean of the exponentially distributed delay of every message.
        late_share: Share of messages that additionally wait for a processor.
        late_s: Duration of that wait.
        lock_share: Share of calls after which the thread waits for the interpreter lock.
        lock_s: Duration of that wait.
    """

    message_s: float = 0.0
    late_share: float = 0.0
    late_s: float = 0.0
    lock_share: float = 0.0
    lock_s: float = 0.0


QUIET = Delays()
