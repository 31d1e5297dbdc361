"""Odd and wrong inputs to every tool, counted."""
