"""Scores → one self-contained page for the browser. Needs legscore[report]."""
