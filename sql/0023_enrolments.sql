-- Devices that enrol by a protocol, and the secrets that they show.
ALTER TABLE managed_certificates ADD COLUMN enrolment_label text COLLATE "C" NOT NULL DEFAULT '';

-- What was asked last in each transaction. It lives as long as its job.
CREATE TABLE enrolments (
    id             identifier PRIMARY KEY,
    protocol       text COLLATE "C" NOT NULL CHECK (protocol IN ('EST', 'SCEP')),
    label          text COLLATE "C" NOT NULL,
    transaction    text COLLATE "C" NOT NULL,
    key_sha256     text COLLATE "C" NOT NULL,
    csr_der        bytea NOT NULL,
    certificate_id identifier NOT NULL REFERENCES managed_certificates (id) ON DELETE CASCADE,
    job_id         identifier NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    client         text NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    revision       bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX enrolments_transaction_key ON enrolments (protocol, label, transaction);
CREATE INDEX enrolments_certificate_idx ON enrolments (certificate_id);
CREATE INDEX enrolments_job_idx ON enrolments (job_id);

CREATE TABLE enrolment_secrets (
    id           identifier PRIMARY KEY,
    protocol     text COLLATE "C" NOT NULL CHECK (protocol IN ('EST', 'SCEP')),
    label        text COLLATE "C" NOT NULL,
    description  text NOT NULL DEFAULT '',
    secret_hash  text COLLATE "C" NOT NULL,
    common_name  text NOT NULL DEFAULT '',
    sans         text[] NOT NULL DEFAULT '{}',
    single_use   boolean NOT NULL DEFAULT true,
    created_by   text COLLATE "C" NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    used_for     text NOT NULL DEFAULT '',
    revision     bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX enrolment_secrets_hash_key ON enrolment_secrets (secret_hash);
CREATE INDEX enrolment_secrets_created_idx ON enrolment_secrets (created_at, id);
CREATE INDEX enrolment_secrets_expires_idx ON enrolment_secrets (expires_at, id);
