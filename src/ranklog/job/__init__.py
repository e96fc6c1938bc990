"""Facts about the job: scheduler, GPUs, run directory, requeue."""
