"""The prosumers: who they are, what they can do hour by hour, and what their owners ask for."""
