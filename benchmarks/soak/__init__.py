"""Long trials of what must hold however long or hard a run is; each writes its last result to ``results/``."""
