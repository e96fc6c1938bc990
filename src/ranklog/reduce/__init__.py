"""From every rank's values to reduced records: buffer, rounds, and the maths between them."""
