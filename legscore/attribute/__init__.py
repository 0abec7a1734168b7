"""Contributions of bases to scores: for motif tools, genome browsers and logos; motifs that variants make or
break."""
