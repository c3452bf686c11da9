-- Every filter of the audit trail is the beginning of an index that delivers the order of time: also a kind of actor, a
-- kind of resource alone, and a resource whose kind is not said.
CREATE INDEX audit_events_actor_type_idx ON audit_events (actor_type, timestamp, id);
CREATE INDEX audit_events_resource_type_idx ON audit_events (resource_type, timestamp, id);
CREATE INDEX audit_events_resource_id_idx ON audit_events (resource_id, timestamp, id);
DROP INDEX audit_events_resource_idx;
