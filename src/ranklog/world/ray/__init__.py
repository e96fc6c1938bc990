"""Ranks of Ray Train. Importing this package does not import Ray."""

from ranklog.world.ray.strategy import RayStrategy, in_ray_worker, initialised_place, training_id

__all__ = ["RayStrategy", "in_ray_worker", "initialised_place", "training_id"]
