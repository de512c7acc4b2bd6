"""Market prices: where they come from, and which days count."""
