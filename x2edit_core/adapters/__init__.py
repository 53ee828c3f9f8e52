"""Adapters: the routed maths, what one holds, where it attaches, and its files."""
