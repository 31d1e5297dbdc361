"""Thin adapters to mmengine: hooks and loops."""
