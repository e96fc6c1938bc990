"""Values that a rank keeps in its own file when it can no longer send them, and how they are merged later."""
