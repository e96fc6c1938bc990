"""What the model is told: the costs of a message and the delays of a rank that shares its processor with training."""

from __future__ import annotations

import msgspec

FLOAT_BYTES = 8


class Costs(msgspec.Struct, frozen=True):
    """Times without chance, in seconds.

    Attributes:
        send_s: Processor time of the sender of a message.
        receive_s: Processor time of its receiver.
        wire_node_s: From the sender's last instruction to the receiver's first one, on one node.
        wire_net_s: The same between nodes.
        byte_node_s: Time of a byte on one node.
        byte_net_s: Time of a byte between nodes.
        call_s: From a call to its first message.
        wake_s: How much later than asked a sleeping thread goes on.
        first_ask_s: First pause of a thread that asks whether a collective is done; 0: it is told at once.
        ask_factor: By how much each further pause is longer.
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
    """Chance: what a busy machine adds to single messages and to single calls.

    Attributes:
        message_s: Mean of the exponentially distributed delay of every message.
        late_share: Share of the messages that wait for a processor besides.
        late_s: For how long.
        lock_share: Share of the calls after which the thread must wait for the interpreter's lock.
        lock_s: For how long.
    """

    message_s: float = 0.0
    late_share: float = 0.0
    late_s: float = 0.0
    lock_share: float = 0.0
    lock_s: float = 0.0


QUIET = Delays()
