"""Ranks of torch.distributed and DeepSpeed."""
