-- Managed certificates, the jobs that renew and deploy them, the attempts, and what was issued and revoked.

-- `target_ids` is the list in the operator's order, kept in the row so that reading or locking a certificate is one row;
-- certificate_target_mappings follows it by trigger. `generation` counts the attempts begun. `renew_at`, `next_alert_at` and `expires_at` are when something is next to be
-- done; sweeps are range scans of the partial indexes on them.
CREATE TABLE managed_certificates (
    id                     identifier PRIMARY KEY,
    name                   text COLLATE "C" NOT NULL,
    common_name            text COLLATE "C" NOT NULL,
    sans                   text[] NOT NULL DEFAULT '{}',
    environment            text COLLATE "C" NOT NULL DEFAULT '',
    owner_id               identifier NOT NULL REFERENCES owners (id),
    team_id                identifier NOT NULL REFERENCES teams (id),
    issuer_id              identifier NOT NULL REFERENCES issuers (id),
    renewal_policy_id      identifier NOT NULL REFERENCES renewal_policies (id),
    certificate_profile_id identifier REFERENCES certificate_profiles (id),
    target_ids             text[] NOT NULL DEFAULT '{}',
    tags                   jsonb NOT NULL DEFAULT '{}',
    source                 text COLLATE "C" NOT NULL DEFAULT 'API'
        CHECK (source IN ('API', 'Agent', 'EST', 'SCEP', 'ACME')),
    status                 text COLLATE "C" NOT NULL DEFAULT 'Pending'
        CHECK (status IN (
            'Pending', 'Active', 'Expiring', 'Expired', 'RenewalInProgress', 'Failed', 'Revoked', 'Archived'
        )),
    status_reason          text NOT NULL DEFAULT '',
    generation             integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    expires_at             timestamptz,
    renew_at               timestamptz,
    next_alert_at          timestamptz,
    last_renewal_at        timestamptz,
    last_deployment_at     timestamptz,
    revoked_at             timestamptz,
    revocation_reason      text CHECK (revocation_reason IN (
        'unspecified', 'keyCompromise', 'caCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation',
        'certificateHold', 'privilegeWithdrawn'
    )),
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    revision               bigint NOT NULL DEFAULT 1
);
-- An archived certificate gives its name back.
CREATE UNIQUE INDEX managed_certificates_name_key ON managed_certificates (name) WHERE status <> 'Archived';
-- What is next to be done.
CREATE INDEX managed_certificates_renew_idx ON managed_certificates (renew_at, id) WHERE renew_at IS NOT NULL;
CREATE INDEX managed_certificates_lapse_idx ON managed_certificates (expires_at, id)
    WHERE status IN ('Active', 'Expiring', 'Failed') AND expires_at IS NOT NULL;
-- With the one above, all that is in use: the chart of what expires when is answered from the two alone.
CREATE INDEX managed_certificates_renewing_idx ON managed_certificates (expires_at, id)
    WHERE status = 'RenewalInProgress' AND expires_at IS NOT NULL;
CREATE INDEX managed_certificates_alert_idx ON managed_certificates (next_alert_at, id) WHERE next_alert_at IS NOT NULL;
-- What lists are sorted by, with the id to tell ties apart. A certificate that was never issued expires last.
CREATE INDEX managed_certificates_created_idx ON managed_certificates (created_at, id);
CREATE INDEX managed_certificates_updated_idx ON managed_certificates (updated_at, id);
CREATE INDEX managed_certificates_expires_idx
    ON managed_certificates ((coalesce(expires_at, timestamptz 'infinity')), id);
CREATE INDEX managed_certificates_name_idx ON managed_certificates (name, id);
CREATE INDEX managed_certificates_common_name_idx ON managed_certificates (common_name, id);
CREATE INDEX managed_certificates_environment_idx ON managed_certificates (environment, id);
CREATE INDEX managed_certificates_status_idx ON managed_certificates (status, id);
-- What they are filtered by, and what deleting the other side looks up.
CREATE INDEX managed_certificates_owner_idx ON managed_certificates (owner_id);
CREATE INDEX managed_certificates_team_idx ON managed_certificates (team_id);
CREATE INDEX managed_certificates_issuer_idx ON managed_certificates (issuer_id);
CREATE INDEX managed_certificates_policy_idx ON managed_certificates (renewal_policy_id);
CREATE INDEX managed_certificates_profile_idx ON managed_certificates (certificate_profile_id)
    WHERE certificate_profile_id IS NOT NULL;

-- Which certificate belongs on which target, and what is known of it there: installed and served are facts of their own.
-- Deleting a target that a living certificate is deployed to is refused; the store lets go of archived ones first.
CREATE TABLE certificate_target_mappings (
    certificate_id        identifier NOT NULL REFERENCES managed_certificates (id) ON DELETE CASCADE,
    target_id             identifier NOT NULL REFERENCES deployment_targets (id),
    installed_fingerprint text NOT NULL DEFAULT '',
    installed_at          timestamptz,
    served_fingerprint    text NOT NULL DEFAULT '',
    served_at             timestamptz,
    last_error            text NOT NULL DEFAULT '',
    PRIMARY KEY (certificate_id, target_id)
);
CREATE INDEX certificate_target_mappings_target_idx ON certificate_target_mappings (target_id);

CREATE FUNCTION follow_target_ids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM certificate_target_mappings
    WHERE certificate_id = NEW.id AND target_id <> ALL (NEW.target_ids);
    INSERT INTO certificate_target_mappings (certificate_id, target_id)
    SELECT NEW.id, target_id FROM unnest(NEW.target_ids) AS target_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_targets_of_new AFTER INSERT ON managed_certificates
    FOR EACH ROW WHEN (NEW.target_ids <> '{}') EXECUTE FUNCTION follow_target_ids();
CREATE TRIGGER managed_certificates_targets_of_changed AFTER UPDATE OF target_ids ON managed_certificates
    FOR EACH ROW WHEN (OLD.target_ids IS DISTINCT FROM NEW.target_ids) EXECUTE FUNCTION follow_target_ids();

-- Agents are retired, never removed, so jobs keep theirs. A job outlives its target.
CREATE TABLE jobs (
    id                       identifier PRIMARY KEY,
    type                     text COLLATE "C" NOT NULL
        CHECK (type IN ('Issuance', 'Renewal', 'Deployment', 'Validation')),
    certificate_id           identifier NOT NULL REFERENCES managed_certificates (id) ON DELETE CASCADE,
    target_id                identifier REFERENCES deployment_targets (id) ON DELETE SET NULL,
    agent_id                 identifier REFERENCES agents (id),
    attempt_id               identifier,
    version_id               identifier,
    status                   text COLLATE "C" NOT NULL DEFAULT 'Pending'
        CHECK (status IN (
            'Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running', 'Completed', 'Failed', 'Cancelled'
        )),
    attempts                 integer NOT NULL DEFAULT 0,
    max_attempts             integer NOT NULL DEFAULT 3,
    last_error               text NOT NULL DEFAULT '',
    requested_by             text COLLATE "C" NOT NULL DEFAULT '',
    scheduled_at             timestamptz NOT NULL,
    started_at               timestamptz,
    acknowledged_at          timestamptz,
    completed_at             timestamptz,
    lease_until              timestamptz,
    next_attempt_at          timestamptz,
    verification_status      text NOT NULL DEFAULT 'pending'
        CHECK (verification_status IN ('pending', 'success', 'failed', 'skipped')),
    verified_at              timestamptz,
    verification_fingerprint text NOT NULL DEFAULT '',
    verification_error       text NOT NULL DEFAULT '',
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now(),
    revision                 bigint NOT NULL DEFAULT 1
)
WITH (fillfactor = 85);
-- One open issuing job for each certificate and key holder, one open deployment for each certificate and target.
CREATE UNIQUE INDEX jobs_open_issuing_key ON jobs (certificate_id, (coalesce(agent_id, '')))
    WHERE type IN ('Issuance', 'Renewal') AND status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
CREATE UNIQUE INDEX jobs_open_deployment_key ON jobs (certificate_id, (coalesce(target_id, '')))
    WHERE type = 'Deployment' AND status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
-- What is next to be done, by status.
CREATE INDEX jobs_issuing_due_idx ON jobs (scheduled_at, id)
    WHERE status = 'Pending' AND type IN ('Issuance', 'Renewal');
CREATE INDEX jobs_lease_idx ON jobs (lease_until, id) WHERE status = 'Running';
CREATE INDEX jobs_retry_idx ON jobs (next_attempt_at, id) WHERE status = 'Failed' AND next_attempt_at IS NOT NULL;
CREATE INDEX jobs_awaiting_csr_idx ON jobs (scheduled_at, id) WHERE status = 'AwaitingCSR';
CREATE INDEX jobs_awaiting_approval_idx ON jobs (created_at, id) WHERE status = 'AwaitingApproval';
-- Everything an agent has before it: what its polls look at.
CREATE INDEX jobs_of_agent_idx ON jobs (agent_id, scheduled_at, id)
    WHERE status IN ('Pending', 'AwaitingCSR', 'AwaitingApproval', 'Running');
-- Lists.
CREATE INDEX jobs_created_idx ON jobs (created_at, id);
CREATE INDEX jobs_updated_idx ON jobs (updated_at, id);
CREATE INDEX jobs_scheduled_idx ON jobs (scheduled_at, id);
CREATE INDEX jobs_status_idx ON jobs (status, created_at, id);
CREATE INDEX jobs_certificate_idx ON jobs (certificate_id, created_at, id);
CREATE INDEX jobs_target_idx ON jobs (target_id) WHERE target_id IS NOT NULL;

-- Certificates and CSRs are kept as DER: a third smaller than PEM and read without decoding, which at a million rows is
-- the difference of half a gigabyte; the API makes PEM of the one it shows.
CREATE TABLE issuance_attempts (
    id                identifier PRIMARY KEY,
    certificate_id    identifier NOT NULL REFERENCES managed_certificates (id),
    generation        integer NOT NULL,
    job_id            identifier REFERENCES jobs (id) ON DELETE SET NULL,
    agent_id          identifier REFERENCES agents (id),
    issuer_id         identifier NOT NULL REFERENCES issuers (id),
    csr_der           bytea NOT NULL,
    serial_number     text COLLATE "C" NOT NULL CHECK (serial_number ~ '^[1-9a-f][0-9a-f]*$'),
    not_before        timestamptz NOT NULL,
    not_after         timestamptz NOT NULL,
    status            text COLLATE "C" NOT NULL DEFAULT 'Requested'
        CHECK (status IN ('Requested', 'Ordered', 'Issued', 'Failed')),
    upstream_order_id text NOT NULL DEFAULT '',
    error             text NOT NULL DEFAULT '',
    created_at        timestamptz NOT NULL DEFAULT now(),
    finished_at       timestamptz,
    revision          bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX issuance_attempts_generation_key ON issuance_attempts (certificate_id, generation);
CREATE INDEX issuance_attempts_job_idx ON issuance_attempts (job_id) WHERE job_id IS NOT NULL;

-- The certificates above a leaf, nearest first. A CA's million leafs share one row.
CREATE TABLE certificate_chains (
    sha256       bytea PRIMARY KEY,
    certificates bytea[] NOT NULL
);

-- What was issued, for good. A serial number has one spelling: lower-case hex without leading zeros.
CREATE TABLE certificate_versions (
    id                 identifier PRIMARY KEY,
    certificate_id     identifier NOT NULL REFERENCES managed_certificates (id),
    generation         integer NOT NULL,
    attempt_id         identifier REFERENCES issuance_attempts (id),
    job_id             identifier REFERENCES jobs (id) ON DELETE SET NULL,
    agent_id           identifier REFERENCES agents (id),
    issuer_id          identifier NOT NULL REFERENCES issuers (id),
    serial_number      text COLLATE "C" NOT NULL CHECK (serial_number ~ '^[1-9a-f][0-9a-f]*$'),
    not_before         timestamptz NOT NULL,
    not_after          timestamptz NOT NULL,
    fingerprint_sha256 text COLLATE "C" NOT NULL CHECK (fingerprint_sha256 ~ '^[0-9a-f]{64}$'),
    certificate_der    bytea NOT NULL,
    chain_sha256       bytea NOT NULL REFERENCES certificate_chains (sha256),
    csr_der            bytea,
    key_algorithm      text NOT NULL DEFAULT '',
    key_size           integer NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX certificate_versions_generation_key ON certificate_versions (certificate_id, generation);
CREATE UNIQUE INDEX certificate_versions_serial_key ON certificate_versions (issuer_id, serial_number);
CREATE UNIQUE INDEX certificate_versions_fingerprint_key ON certificate_versions (fingerprint_sha256);
CREATE INDEX certificate_versions_job_idx ON certificate_versions (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX certificate_versions_created_idx ON certificate_versions (created_at);

ALTER TABLE jobs
    ADD CONSTRAINT jobs_attempt_id_fkey FOREIGN KEY (attempt_id) REFERENCES issuance_attempts (id),
    ADD CONSTRAINT jobs_version_id_fkey FOREIGN KEY (version_id) REFERENCES certificate_versions (id);

-- `not_after` of the revoked certificate: an entry leaves the CRL when the certificate would have expired anyway.
CREATE TABLE certificate_revocations (
    id              identifier PRIMARY KEY,
    certificate_id  identifier NOT NULL REFERENCES managed_certificates (id),
    issuer_id       identifier NOT NULL REFERENCES issuers (id),
    serial_number   text COLLATE "C" NOT NULL CHECK (serial_number ~ '^[1-9a-f][0-9a-f]*$'),
    reason          text NOT NULL DEFAULT 'unspecified'
        CHECK (reason IN (
            'unspecified', 'keyCompromise', 'caCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation',
            'certificateHold', 'privilegeWithdrawn'
        )),
    revoked_by      text NOT NULL,
    revoked_at      timestamptz NOT NULL DEFAULT now(),
    not_after       timestamptz NOT NULL,
    issuer_notified boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX certificate_revocations_serial_key ON certificate_revocations (issuer_id, serial_number);
CREATE INDEX certificate_revocations_not_after_idx ON certificate_revocations (issuer_id, not_after);
CREATE INDEX certificate_revocations_certificate_idx ON certificate_revocations (certificate_id);

-- How many revocations an issuer has ever had, and the last number given to one of its CRLs. Rows of their own, so that
-- a revocation does not wait for a CRL being made.
CREATE TABLE revocation_counts (
    issuer_id   identifier PRIMARY KEY REFERENCES issuers (id) ON DELETE CASCADE,
    revocations bigint NOT NULL
);
CREATE TABLE crl_numbers (
    issuer_id   identifier PRIMARY KEY REFERENCES issuers (id) ON DELETE CASCADE,
    last_number bigint NOT NULL
);

-- The CRL last signed. `revoked_count` is the issuer's count of revocations it was made at.
CREATE TABLE crl_cache (
    issuer_id              identifier PRIMARY KEY REFERENCES issuers (id) ON DELETE CASCADE,
    crl_number             bigint NOT NULL,
    crl_der                bytea NOT NULL,
    revoked_count          bigint NOT NULL,
    this_update            timestamptz NOT NULL,
    next_update            timestamptz NOT NULL,
    generated_at           timestamptz NOT NULL DEFAULT now(),
    generation_duration_ms integer NOT NULL DEFAULT 0,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE crl_generation_events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_id     identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    crl_number    bigint NOT NULL,
    duration_ms   integer NOT NULL,
    revoked_count bigint NOT NULL,
    started_at    timestamptz NOT NULL,
    succeeded     boolean NOT NULL,
    error         text NOT NULL DEFAULT ''
);
CREATE INDEX crl_generation_events_issuer_idx ON crl_generation_events (issuer_id, started_at);
CREATE INDEX crl_generation_events_started_idx ON crl_generation_events (started_at);
