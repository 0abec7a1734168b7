"""Static figures with matplotlib: PNG, SVG, PDF. Needs legscore[report]."""
