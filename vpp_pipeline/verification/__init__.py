"""The rules that bids must keep, checked on published tables alone."""
