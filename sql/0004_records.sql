-- What happened: the audit trail, notifications, API calls, and the runs of the scheduler's loops.

-- Append-only, kept for good. `details` is the canonical JSON text itself (sorted keys, no spaces), not jsonb, which
-- would give back other bytes than those that were written: the text is what a seal can be put on. `seq` is the order of
-- writing.
CREATE TABLE audit_events (
    seq           bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_events_seq_key UNIQUE,
    id            identifier PRIMARY KEY,
    actor         text COLLATE "C" NOT NULL,
    actor_type    text COLLATE "C" NOT NULL CHECK (actor_type IN ('User', 'System', 'Agent')),
    action        text COLLATE "C" NOT NULL,
    resource_type text COLLATE "C" NOT NULL,
    resource_id   text COLLATE "C" NOT NULL,
    details       text NOT NULL DEFAULT '{}',
    request_id    text COLLATE "C" NOT NULL DEFAULT '',
    timestamp     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_events_timestamp_idx ON audit_events (timestamp, id);
CREATE INDEX audit_events_resource_idx ON audit_events (resource_type, resource_id, timestamp, id);
CREATE INDEX audit_events_actor_idx ON audit_events (actor, timestamp, id);
CREATE INDEX audit_events_action_idx ON audit_events (action, timestamp, id);

CREATE FUNCTION refuse_to_change_the_audit_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Correct an event by adding another one.';
END;
$$;
-- By statement, so that one which matches no row is refused too; ALWAYS, so that replication roles do not pass by it.
CREATE TRIGGER audit_events_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_trail();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_are_final;

CREATE TABLE notification_events (
    id             identifier PRIMARY KEY,
    type           text COLLATE "C" NOT NULL CHECK (type IN (
        'ExpirationWarning', 'RenewalSuccess', 'RenewalFailure', 'DeploymentSuccess', 'DeploymentFailure',
        'PolicyViolation', 'Revocation'
    )),
    certificate_id identifier REFERENCES managed_certificates (id) ON DELETE CASCADE,
    channel        text COLLATE "C" NOT NULL,
    recipient      text COLLATE "C" NOT NULL,
    message        text NOT NULL,
    status         text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'sent', 'failed', 'dead', 'read')),
    retry_count    integer NOT NULL DEFAULT 0,
    next_retry_at  timestamptz,
    last_error     text NOT NULL DEFAULT '',
    sent_at        timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    revision       bigint NOT NULL DEFAULT 1
);
CREATE INDEX notification_events_created_idx ON notification_events (created_at, id);
CREATE INDEX notification_events_pending_idx ON notification_events (created_at, id) WHERE status = 'pending';
CREATE INDEX notification_events_retry_idx ON notification_events (next_retry_at, id)
    WHERE status = 'failed' AND next_retry_at IS NOT NULL;
CREATE INDEX notification_events_status_idx ON notification_events (status, created_at, id);
CREATE INDEX notification_events_certificate_idx ON notification_events (certificate_id) WHERE certificate_id IS NOT NULL;

-- One row a loop. `next_run_at` is moved by whoever claims the run.
CREATE TABLE scheduler_loops (
    name             text COLLATE "C" PRIMARY KEY,
    run_interval     interval NOT NULL,
    next_run_at      timestamptz NOT NULL,
    last_started_at  timestamptz,
    last_finished_at timestamptz,
    last_duration    interval,
    last_outcome     text NOT NULL DEFAULT 'never' CHECK (last_outcome IN ('never', 'running', 'success', 'failed')),
    last_error       text NOT NULL DEFAULT '',
    last_items       integer NOT NULL DEFAULT 0,
    last_worker      text NOT NULL DEFAULT '',
    runs             bigint NOT NULL DEFAULT 0,
    failures         bigint NOT NULL DEFAULT 0
);

-- One partition a month, dropped whole when its time is over. What falls outside of them goes to the default partition
-- and is moved when the month's own is made.
CREATE TABLE api_calls (
    id         identifier NOT NULL,
    at         timestamptz NOT NULL,
    actor      text COLLATE "C" NOT NULL,
    method     text COLLATE "C" NOT NULL,
    path       text COLLATE "C" NOT NULL,
    status     integer NOT NULL,
    took       interval NOT NULL,
    request_id text COLLATE "C" NOT NULL DEFAULT '',
    body_hash  text NOT NULL DEFAULT '',
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE INDEX api_calls_actor_idx ON api_calls (actor, at, id);
CREATE TABLE api_calls_default PARTITION OF api_calls DEFAULT;
