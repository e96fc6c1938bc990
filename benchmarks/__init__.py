"""Cost of logging in the training thread, compared with direct use of the backends' clients."""
