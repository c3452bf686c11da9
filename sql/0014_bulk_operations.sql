-- Operations on many certificates. What was matched when one was asked for is kept in batches, and `next_batch` is how
-- far it has got: batch, outcome and place change in one transaction, so no certificate has its turn twice or never.
-- `role`, `team_ids` and `environments` are what the caller was and reached then.
CREATE TABLE bulk_operations (
    id               identifier PRIMARY KEY,
    action           text COLLATE "C" NOT NULL CHECK (action IN ('revoke', 'renew', 'reassign')),
    status           text COLLATE "C" NOT NULL DEFAULT 'Running' CHECK (status IN ('Running', 'Completed', 'Cancelled')),
    criteria         jsonb NOT NULL DEFAULT '{}',
    reason           text NOT NULL DEFAULT '',
    force            boolean NOT NULL DEFAULT false,
    new_owner_id     text COLLATE "C",
    new_team_id      text COLLATE "C",
    requested_by     text COLLATE "C" NOT NULL,
    requested_by_key text COLLATE "C",
    role             text COLLATE "C" NOT NULL CHECK (role IN ('admin', 'operator', 'viewer', 'auditor', 'agent')),
    team_ids         text[] NOT NULL DEFAULT '{}',
    environments     text[] NOT NULL DEFAULT '{}',
    request_id       text NOT NULL DEFAULT '',
    next_batch       integer NOT NULL DEFAULT 0,
    total_matched    bigint NOT NULL DEFAULT 0,
    total_done       bigint NOT NULL DEFAULT 0,
    total_skipped    bigint NOT NULL DEFAULT 0,
    total_failed     bigint NOT NULL DEFAULT 0,
    lease_until      timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    completed_at     timestamptz,
    revision         bigint NOT NULL DEFAULT 1
)
WITH (fillfactor = 70);
CREATE INDEX bulk_operations_created_idx ON bulk_operations (created_at, id);
CREATE INDEX bulk_operations_running_idx ON bulk_operations (created_at, id) WHERE status = 'Running';
CREATE INDEX bulk_operations_completed_idx ON bulk_operations (completed_at, id) WHERE completed_at IS NOT NULL;

-- Gone when the operation has ended.
CREATE TABLE bulk_operation_batches (
    operation_id    identifier NOT NULL REFERENCES bulk_operations (id) ON DELETE CASCADE,
    number          integer NOT NULL,
    certificate_ids text[] NOT NULL,
    PRIMARY KEY (operation_id, number)
);

CREATE TABLE bulk_operation_failures (
    operation_id   identifier NOT NULL REFERENCES bulk_operations (id) ON DELETE CASCADE,
    certificate_id identifier NOT NULL,
    error          text NOT NULL,
    PRIMARY KEY (operation_id, certificate_id)
);
