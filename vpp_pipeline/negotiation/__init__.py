"""Opportunities, and the deals that are struck over them."""
