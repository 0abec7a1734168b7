"""Distilling: one small network is taught the scores of an ensemble. Behind `legscore distill`."""
