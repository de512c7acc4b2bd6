"""The day's optimisation: who does what in which hour, and what each is paid for it."""
