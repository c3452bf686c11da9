-- Approvals, CA hierarchies, OCSP responders, and the doors of other protocols (SCEP, ACME).

CREATE TABLE issuance_approval_requests (
    id             identifier PRIMARY KEY,
    certificate_id identifier NOT NULL REFERENCES managed_certificates (id) ON DELETE CASCADE,
    job_id         identifier NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    profile_id     identifier REFERENCES certificate_profiles (id),
    requested_by   text COLLATE "C" NOT NULL,
    state          text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'approved', 'rejected', 'expired')),
    decided_by     text NOT NULL DEFAULT '',
    decided_at     timestamptz,
    decision_note  text NOT NULL DEFAULT '',
    metadata       jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    revision       bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX issuance_approval_requests_open_key ON issuance_approval_requests (job_id) WHERE state = 'pending';
CREATE INDEX issuance_approval_requests_job_idx ON issuance_approval_requests (job_id);
CREATE INDEX issuance_approval_requests_state_idx ON issuance_approval_requests (state, created_at, id);
CREATE INDEX issuance_approval_requests_certificate_idx ON issuance_approval_requests (certificate_id);

CREATE TABLE intermediate_cas (
    id                  identifier PRIMARY KEY,
    owning_issuer_id    identifier NOT NULL REFERENCES issuers (id),
    parent_ca_id        identifier REFERENCES intermediate_cas (id),
    name                text COLLATE "C" NOT NULL,
    subject             text NOT NULL,
    state               text COLLATE "C" NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'retiring', 'retired')),
    cert_pem            text NOT NULL,
    key_driver_id       text NOT NULL,
    not_before          timestamptz NOT NULL,
    not_after           timestamptz NOT NULL,
    path_len_constraint integer,
    name_constraints    jsonb NOT NULL DEFAULT '[]',
    ocsp_responder_url  text NOT NULL DEFAULT '',
    metadata            jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    revision            bigint NOT NULL DEFAULT 1
);
CREATE INDEX intermediate_cas_issuer_idx ON intermediate_cas (owning_issuer_id);
CREATE INDEX intermediate_cas_parent_idx ON intermediate_cas (parent_ca_id) WHERE parent_ca_id IS NOT NULL;

CREATE TABLE ocsp_responders (
    issuer_id    identifier PRIMARY KEY REFERENCES issuers (id) ON DELETE CASCADE,
    cert_pem     text NOT NULL,
    cert_serial  text COLLATE "C" NOT NULL,
    key_path     text NOT NULL,
    key_alg      text NOT NULL,
    not_before   timestamptz NOT NULL,
    not_after    timestamptz NOT NULL,
    rotated_from text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ocsp_response_cache (
    issuer_id         identifier NOT NULL REFERENCES issuers (id) ON DELETE CASCADE,
    serial_hex        text COLLATE "C" NOT NULL,
    response_der      bytea NOT NULL,
    cert_status       text NOT NULL,
    revocation_reason text NOT NULL DEFAULT '',
    revoked_at        timestamptz,
    this_update       timestamptz NOT NULL,
    next_update       timestamptz NOT NULL,
    generated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer_id, serial_hex)
);
CREATE INDEX ocsp_response_cache_next_update_idx ON ocsp_response_cache (next_update);

CREATE TABLE scep_probe_results (
    id                      identifier PRIMARY KEY,
    target_url              text NOT NULL,
    reachable               boolean NOT NULL,
    advertised_caps         text[] NOT NULL DEFAULT '{}',
    supports_rfc8894        boolean NOT NULL DEFAULT false,
    supports_aes            boolean NOT NULL DEFAULT false,
    supports_post_operation boolean NOT NULL DEFAULT false,
    supports_renewal        boolean NOT NULL DEFAULT false,
    supports_sha256         boolean NOT NULL DEFAULT false,
    supports_sha512         boolean NOT NULL DEFAULT false,
    ca_cert_subject         text NOT NULL DEFAULT '',
    ca_cert_issuer          text NOT NULL DEFAULT '',
    ca_cert_not_before      timestamptz,
    ca_cert_not_after       timestamptz,
    ca_cert_expired         boolean NOT NULL DEFAULT false,
    ca_cert_algorithm       text NOT NULL DEFAULT '',
    ca_cert_chain_length    integer NOT NULL DEFAULT 0,
    probed_at               timestamptz NOT NULL,
    probe_duration_ms       integer NOT NULL DEFAULT 0,
    error                   text NOT NULL DEFAULT '',
    created_at              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX scep_probe_results_probed_idx ON scep_probe_results (probed_at, id);

-- The ACME server (RFC 8555). Statuses are those of its section 7.1.6.
CREATE TABLE acme_accounts (
    account_id     identifier PRIMARY KEY,
    jwk_thumbprint text COLLATE "C" NOT NULL,
    jwk_pem        text NOT NULL,
    contact        text[] NOT NULL DEFAULT '{}',
    status         text COLLATE "C" NOT NULL DEFAULT 'valid' CHECK (status IN ('valid', 'deactivated', 'revoked')),
    profile_id     identifier NOT NULL REFERENCES certificate_profiles (id),
    owner_id       identifier REFERENCES owners (id),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT acme_accounts_key_key UNIQUE (profile_id, jwk_thumbprint)
);
CREATE INDEX acme_accounts_owner_idx ON acme_accounts (owner_id) WHERE owner_id IS NOT NULL;

CREATE TABLE acme_orders (
    order_id       identifier PRIMARY KEY,
    account_id     identifier NOT NULL REFERENCES acme_accounts (account_id) ON DELETE CASCADE,
    identifiers    jsonb NOT NULL,
    status         text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'ready', 'processing', 'valid', 'invalid')),
    expires_at     timestamptz NOT NULL,
    not_before     timestamptz,
    not_after      timestamptz,
    error          jsonb,
    csr_pem        text NOT NULL DEFAULT '',
    certificate_id identifier REFERENCES managed_certificates (id) ON DELETE SET NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX acme_orders_account_idx ON acme_orders (account_id, created_at);
CREATE INDEX acme_orders_expires_idx ON acme_orders (expires_at);
CREATE INDEX acme_orders_certificate_idx ON acme_orders (certificate_id) WHERE certificate_id IS NOT NULL;

CREATE TABLE acme_authorizations (
    authz_id   identifier PRIMARY KEY,
    order_id   identifier NOT NULL REFERENCES acme_orders (order_id) ON DELETE CASCADE,
    identifier jsonb NOT NULL,
    status     text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated', 'expired', 'revoked')),
    expires_at timestamptz NOT NULL,
    wildcard   boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX acme_authorizations_order_idx ON acme_authorizations (order_id);

CREATE TABLE acme_challenges (
    challenge_id identifier PRIMARY KEY,
    authz_id     identifier NOT NULL REFERENCES acme_authorizations (authz_id) ON DELETE CASCADE,
    type         text COLLATE "C" NOT NULL CHECK (type IN ('http-01', 'dns-01', 'tls-alpn-01')),
    status       text COLLATE "C" NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'valid', 'invalid')),
    token        text NOT NULL,
    validated_at timestamptz,
    error        jsonb,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX acme_challenges_authz_idx ON acme_challenges (authz_id);

CREATE TABLE acme_nonces (
    nonce      text COLLATE "C" PRIMARY KEY,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used       boolean NOT NULL DEFAULT false
);
CREATE INDEX acme_nonces_expires_idx ON acme_nonces (expires_at);
