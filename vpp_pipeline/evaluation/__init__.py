"""What bids earned, and what other strategies, engines or risk settings would have."""
