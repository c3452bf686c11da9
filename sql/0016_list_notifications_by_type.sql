-- Messages are listed by what they are about, newest first.
CREATE INDEX notification_events_type_idx ON notification_events (type, created_at, id);
