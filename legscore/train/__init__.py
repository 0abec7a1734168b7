"""Training: data, folds, targets, recipes, the loop. Needs `legscore[train]`; never on the scoring path."""
