-- The audit trail as the leaves of a Merkle tree (RFC 9162 section 2), so that no row can be changed or removed unseen.
-- How rows become leaves is told in certctl_core/usecases/sealing.py.

-- Rows of the audit trail that are no leaves yet. Each is put here in the transaction that writes it, whoever that is:
-- it becomes visible when its event does, however late, and a sealing that fails leaves it here.
CREATE TABLE audit_unsealed (
    seq bigint PRIMARY KEY
);

CREATE FUNCTION await_sealing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_unsealed (seq) SELECT seq FROM added;
    RETURN NULL;
END;
$$;
CREATE TRIGGER audit_events_await_sealing AFTER INSERT ON audit_events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION await_sealing();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_await_sealing;

INSERT INTO audit_unsealed (seq) SELECT seq FROM audit_events;

-- `leaf_index` is the order of sealing, without gaps. No foreign key: it would lock every row of the trail that it
-- looks at, and what it would prevent is what the hash is there to show.
CREATE TABLE audit_leaves (
    leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
    seq        bigint NOT NULL CONSTRAINT audit_leaves_seq_key UNIQUE,
    hash       bytea NOT NULL CHECK (octet_length(hash) = 32)
);

-- Complete subtrees above 2^level leaves, of every fourth level: those between are computed from at most eight hashes.
CREATE TABLE audit_subtrees (
    level    smallint NOT NULL CHECK (level > 0 AND level % 4 = 0),
    position bigint NOT NULL CHECK (position >= 0),
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, position)
);

CREATE TABLE audit_checkpoints (
    tree_size  bigint PRIMARY KEY CHECK (tree_size > 0),
    root_hash  bytea NOT NULL CHECK (octet_length(root_hash) = 32),
    created_at timestamptz NOT NULL,
    note       text NOT NULL
);

-- The key that signs checkpoints (Ed25519: 32 bytes; PKCS#8 DER, sealed) and the name of the log that they are of.
CREATE TABLE audit_signers (
    id         text COLLATE "C" PRIMARY KEY CHECK (id = 'audit'),
    name       text COLLATE "C" NOT NULL,
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 32),
    sealed_key bytea NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TRIGGER audit_leaves_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_trail();
CREATE TRIGGER audit_subtrees_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_subtrees
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_trail();
CREATE TRIGGER audit_checkpoints_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_trail();
CREATE TRIGGER audit_signers_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_signers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_trail();
ALTER TABLE audit_leaves ENABLE ALWAYS TRIGGER audit_leaves_are_final;
ALTER TABLE audit_subtrees ENABLE ALWAYS TRIGGER audit_subtrees_are_final;
ALTER TABLE audit_checkpoints ENABLE ALWAYS TRIGGER audit_checkpoints_are_final;
ALTER TABLE audit_signers ENABLE ALWAYS TRIGGER audit_signers_are_final;
