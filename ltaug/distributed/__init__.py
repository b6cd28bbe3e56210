"""Several processes that compute one result together: they share values, sum and gather tensors, and end together."""
