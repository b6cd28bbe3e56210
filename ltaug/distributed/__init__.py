"""Several processes that compute one thing together: a group that agrees, sums and gathers, and ends as one."""
