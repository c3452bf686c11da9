"""The programs as processes, and a browser."""
