"""How good are scores: exact statistics, figures, a page in the browser. Never on the scoring path."""
