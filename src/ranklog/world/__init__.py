"""Which rank is this process, and how do ranks communicate: places, strategies and communicators."""
