"""What logging costs in the training thread, side by side with the clients people use directly."""
