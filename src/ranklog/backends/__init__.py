"""One package per backend. Each owns its client library; nothing else in ranklog imports that library."""
