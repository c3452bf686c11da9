"""The server: HTTP API, dashboard, worker and the processes around them."""
