"""Atlases: every small change of a set of tiles, scored once and kept for looking up. A companion of runs: it
builds on them and never lies on their path."""
