"""Owners' notes, read by rules into limits that can only tighten."""
