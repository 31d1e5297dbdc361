"""What the project claims, measured: accuracy of methods, ratios of time."""
