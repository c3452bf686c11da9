-- The watchdog looks for what is overdue and was not reported. With the time of the report in the index it passes over
-- those that were without reading them.
DROP INDEX managed_certificates_overdue_idx;
CREATE INDEX managed_certificates_overdue_idx ON managed_certificates (overdue_at, id, overdue_reported_at)
    WHERE overdue_at IS NOT NULL;
