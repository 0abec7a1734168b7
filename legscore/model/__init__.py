"""Checkpoints, importers, the network and its lowering to a graph."""
