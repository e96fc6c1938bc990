"""Who am I, and how ranks talk: places from launchers and process groups, and communicators of our own."""
