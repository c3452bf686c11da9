"""What every request passes through, in this order: request id, logging, recovery, body limit, rate limit, CORS,
authentication, record of the call. Each is one file and knows nothing of the others but `facts`."""
