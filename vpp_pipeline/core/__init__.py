"""What every stage stands on: time, units, errors, the lake. Imports no stage."""
