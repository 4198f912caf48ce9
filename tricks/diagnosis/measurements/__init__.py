"""Measurements of a run, each by itself: plain numbers that findings rest on."""
