"""Everything that only makes learning and play faster; without it the rest gives the same results, more slowly."""
