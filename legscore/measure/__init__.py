"""Measuring on the machine at hand: its limits, the engine against them, runs against the engine."""
