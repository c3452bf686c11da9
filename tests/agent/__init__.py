"""Agents, tested against a control plane of real HTTPS."""
