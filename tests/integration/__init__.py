"""Parts that only work together, over a real PostgreSQL."""
