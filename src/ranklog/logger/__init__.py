"""The logger object that users hold: its logging calls and its life cycle."""
