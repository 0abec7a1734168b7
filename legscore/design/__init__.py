"""Designing sequences with a wanted score: the generator, plainer searches, constraints, selection, what came
of it."""
