"""The search for the Pareto front of a supernet."""
