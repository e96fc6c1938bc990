"""Long trials of properties that must hold regardless of duration and load. Each writes its result to ``results/``."""
