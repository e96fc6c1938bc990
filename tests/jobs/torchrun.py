"""torchrun for the fork server: the agent of a job, which starts the ranks in new interpreters as it always does."""

from torch.distributed.run import main

if __name__ == "__main__":
    main()
