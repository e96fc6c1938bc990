"""A model of how ranks combine values: what a message costs, which groups there are, when each rank is done."""
