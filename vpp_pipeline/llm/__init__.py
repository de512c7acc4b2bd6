"""Advice from a language model: it proposes, never decides."""
