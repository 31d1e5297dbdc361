"""Numbers and pictures made from evaluations."""
