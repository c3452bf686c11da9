"""Lives: one table per kind of object. Only these modules write a `status`."""
