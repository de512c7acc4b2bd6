"""Column generation, for fleets that one linear program cannot hold."""
