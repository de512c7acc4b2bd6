"""What tomorrow brings, from what was known at 10:00 today: prices, sun, load, cars. Learns; knows no market rules."""
