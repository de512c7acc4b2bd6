"""Reading the outside world: prices, meters, weather, fleet and requests of one day."""
