"""What ranks keep in their own files when they can no longer send it."""
