"""Past days replayed by several arms on the same fleet, prices and settlement: what the desk's way really earns."""
