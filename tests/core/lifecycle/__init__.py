"""The state tables."""
