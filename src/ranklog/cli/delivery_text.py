"""Text about the state of delivery, for ``ls``, ``show`` and ``sync``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ranklog.cli.console import clean
from ranklog.view.deliveries import Delivery
from ranklog.view.units import count


def delivery_text(delivery: Delivery) -> Text:
    """Format the state of one backend."""
    if delivery.error:
        state, style = f"failing, {delivery.waiting:,} waiting", "red"
    elif delivery.waiting:
        state, style = f"{delivery.waiting:,} waiting", "yellow"
    elif delivery.damage:
        state, style = "incomplete: the journal is damaged", "red"
    else:
        state, style = "complete" if delivery.status else "up to date", "green"
    refused = f", {len(delivery.refused)} refused" if delivery.refused else ""
    return Text.assemble(f"{clean(delivery.backend)} ", (state + refused, style))


def problem_texts(deliveries: Sequence[Delivery], run_id: str) -> list[Text]:
    """Format errors of backends and damage of the journal, one line each."""
    lines: dict[str, str] = {}
    for delivery in deliveries:
        if delivery.error:
            tries = count(delivery.failures, "failed try", "failed tries")
            lines[f"{run_id}, {clean(delivery.backend)} ({tries}): "] = clean(delivery.error)
        if warning := delivery.known.get("warning"):
            lines[f"{run_id}, {clean(delivery.backend)}: "] = clean(warning)
        if delivery.refused:
            records = count(len(delivery.refused), "record", "records")
            latest = clean(next(reversed(delivery.refused.values())))
            lines[f"{run_id}, {clean(delivery.backend)} ({records} set aside): "] = (
                f"{latest}; `ranklog show` lists them"
            )
        for segment, reason in delivery.damage.items():
            text = f"cannot be read {reason}; its records are not delivered (see `ranklog verify`)"
            lines[f"{run_id}, {clean(segment)}: "] = clean(text)
    return [Text.assemble((where, "bold"), text) for where, text in lines.items()]


def amount_text(delivery: Delivery) -> Text:
    """Format the state of one backend with its number of records."""
    total = delivery.accepted + delivery.waiting
    return delivery_text(delivery).append(f" ({delivery.accepted:,} of {total:,} records)")
