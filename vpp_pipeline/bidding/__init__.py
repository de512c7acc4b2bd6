"""Bids as CAISO takes them, and the runs that made them."""
