"""One file a backend. Each owns its client's package; nothing else in ranklog imports it."""
