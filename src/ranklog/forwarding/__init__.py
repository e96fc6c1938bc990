"""Delivery as rank 0 sees it: the forwarder, its supervisor, and the progress line at close."""
