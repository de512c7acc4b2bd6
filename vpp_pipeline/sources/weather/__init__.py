"""Open-Meteo: the irradiance that is expected, from a service that needs no key, and our own copy of what it said.

Tested against a server of ours in its layout; it has not met the real one yet.
"""
