-- A CRL is about a CA of an issuer, and a part of that CA's certificates. Its entries are kept as they stand in it, so
-- that a list is made by joining them.

ALTER TABLE issuers
    ADD COLUMN crl_partitions integer NOT NULL DEFAULT 0 CHECK (crl_partitions BETWEEN 0 AND 1024),
    -- When the loop next looks at which CAs an issuer has and over how many parts its CRL is spread.
    ADD COLUMN crl_look_at timestamptz NOT NULL DEFAULT '-infinity';
CREATE INDEX issuers_crl_look_at_idx ON issuers (crl_look_at);

ALTER TABLE issuance_attempts ADD COLUMN crl_partition integer NOT NULL DEFAULT 0;

-- `authority` is the key identifier of the CA in hex, and `partition` the part of its CRL, null for what is on none.
-- Rows of before have neither; the loop reads them off the certificates. `change` numbers the changes of a scope in the
-- order in which they were committed: what follows another number is what a delta tells.
ALTER TABLE certificate_revocations
    ADD COLUMN authority     text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN partition     integer CHECK (partition >= 0),
    ADD COLUMN entry         bytea NOT NULL DEFAULT '',
    ADD COLUMN change        bigint NOT NULL DEFAULT 0,
    ADD COLUMN invalid_since timestamptz,
    ADD COLUMN released_at   timestamptz,
    -- Of an expired certificate that was on a CRL made after its end (RFC 5280 section 3.3).
    ADD COLUMN has_left      boolean NOT NULL DEFAULT false;
-- Compression would be tried for each entry and gain nothing.
ALTER TABLE certificate_revocations ALTER COLUMN entry SET STORAGE PLAIN;
DROP INDEX certificate_revocations_not_after_idx;
CREATE INDEX certificate_revocations_listed_idx
    ON certificate_revocations (issuer_id, authority, partition, change) WHERE released_at IS NULL AND NOT has_left;
CREATE INDEX certificate_revocations_released_idx
    ON certificate_revocations (issuer_id, authority, partition, change) WHERE released_at IS NOT NULL;
CREATE INDEX certificate_revocations_ending_idx
    ON certificate_revocations (issuer_id, authority, partition, not_after) WHERE NOT has_left;
CREATE INDEX certificate_revocations_unassigned_idx ON certificate_revocations (id) WHERE authority = '';

-- When the CRL of a scope is next to be made. A row of its own, which a revocation changes.
CREATE TABLE crl_scopes (
    issuer_id   identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    authority   text COLLATE "C" NOT NULL,
    partition   integer NOT NULL CHECK (partition >= 0),
    changes     bigint NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL,
    lease_until timestamptz,
    failures    integer NOT NULL DEFAULT 0,
    last_error  text NOT NULL DEFAULT '',
    addresses   text[] NOT NULL DEFAULT '{}',
    is_first    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (issuer_id, authority, partition)
);
CREATE INDEX crl_scopes_due_idx ON crl_scopes (due_at);

-- The CRLs that are published. Those of before are made again: nobody can tell here which CA signed them.
DROP TABLE crl_cache;
CREATE TABLE crls (
    issuer_id   identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    authority   text COLLATE "C" NOT NULL,
    partition   integer NOT NULL,
    is_delta    boolean NOT NULL,
    crl_number  bigint NOT NULL,
    base        bigint,
    digest      text NOT NULL,
    size        bigint NOT NULL,
    entries     bigint NOT NULL,
    changes     bigint NOT NULL,
    this_update timestamptz NOT NULL,
    next_update timestamptz NOT NULL,
    made_at     timestamptz NOT NULL,
    took        interval NOT NULL,
    PRIMARY KEY (issuer_id, authority, partition, is_delta)
);
CREATE TABLE crl_blocks (
    issuer_id  identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    authority  text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    is_delta   boolean NOT NULL,
    crl_number bigint NOT NULL,
    position   integer NOT NULL,
    content    bytea NOT NULL,
    PRIMARY KEY (issuer_id, authority, partition, is_delta, crl_number, position)
);
-- Signatures and serial numbers do not compress.
ALTER TABLE crl_blocks ALTER COLUMN content SET STORAGE EXTERNAL;

DROP TABLE crl_generation_events;
CREATE TABLE crl_generation_events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_id     identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    authority     text COLLATE "C" NOT NULL,
    partition     integer NOT NULL,
    is_delta      boolean NOT NULL,
    crl_number    bigint NOT NULL,
    started_at    timestamptz NOT NULL,
    took          interval NOT NULL,
    entries       bigint NOT NULL,
    changes       bigint NOT NULL,
    next_update   timestamptz,
    succeeded     boolean NOT NULL,
    error         text NOT NULL DEFAULT ''
);
CREATE INDEX crl_generation_events_scope_idx
    ON crl_generation_events (issuer_id, authority, partition, started_at);
CREATE INDEX crl_generation_events_started_idx ON crl_generation_events (started_at);
