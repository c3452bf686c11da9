-- What is found and watched rather than issued: discovery, network scans, endpoint health, policy rules.

CREATE TABLE discovery_scans (
    id                 identifier PRIMARY KEY,
    agent_id           identifier NOT NULL REFERENCES agents (id),
    directories        text[] NOT NULL DEFAULT '{}',
    certificates_found integer NOT NULL DEFAULT 0,
    certificates_new   integer NOT NULL DEFAULT 0,
    errors_count       integer NOT NULL DEFAULT 0,
    scan_duration_ms   integer NOT NULL DEFAULT 0,
    started_at         timestamptz NOT NULL DEFAULT now(),
    completed_at       timestamptz
);
CREATE INDEX discovery_scans_started_idx ON discovery_scans (started_at, id);
CREATE INDEX discovery_scans_agent_idx ON discovery_scans (agent_id, started_at, id);

CREATE TABLE discovered_certificates (
    id                     identifier PRIMARY KEY,
    fingerprint_sha256     text COLLATE "C" NOT NULL CHECK (fingerprint_sha256 = lower(fingerprint_sha256)),
    common_name            text COLLATE "C" NOT NULL DEFAULT '',
    sans                   text[] NOT NULL DEFAULT '{}',
    serial_number          text COLLATE "C" NOT NULL DEFAULT '',
    issuer_dn              text NOT NULL DEFAULT '',
    subject_dn             text NOT NULL DEFAULT '',
    not_before             timestamptz,
    not_after              timestamptz,
    key_algorithm          text NOT NULL DEFAULT '',
    key_size               integer NOT NULL DEFAULT 0,
    is_ca                  boolean NOT NULL DEFAULT false,
    pem_data               text NOT NULL DEFAULT '',
    source_path            text COLLATE "C" NOT NULL DEFAULT '',
    source_format          text NOT NULL DEFAULT 'PEM',
    agent_id               identifier NOT NULL REFERENCES agents (id),
    discovery_scan_id      identifier REFERENCES discovery_scans (id) ON DELETE SET NULL,
    managed_certificate_id identifier REFERENCES managed_certificates (id) ON DELETE SET NULL,
    status                 text COLLATE "C" NOT NULL DEFAULT 'Unmanaged'
        CHECK (status IN ('Unmanaged', 'Managed', 'Dismissed')),
    first_seen_at          timestamptz NOT NULL DEFAULT now(),
    last_seen_at           timestamptz NOT NULL DEFAULT now(),
    dismissed_at           timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    revision               bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX discovered_certificates_place_key
    ON discovered_certificates (fingerprint_sha256, agent_id, source_path);
CREATE INDEX discovered_certificates_status_idx ON discovered_certificates (status, created_at, id);
CREATE INDEX discovered_certificates_agent_idx ON discovered_certificates (agent_id, created_at, id);
CREATE INDEX discovered_certificates_created_idx ON discovered_certificates (created_at, id);
CREATE INDEX discovered_certificates_scan_idx ON discovered_certificates (discovery_scan_id);
CREATE INDEX discovered_certificates_managed_idx ON discovered_certificates (managed_certificate_id)
    WHERE managed_certificate_id IS NOT NULL;

CREATE TABLE network_scan_targets (
    id                    identifier PRIMARY KEY,
    name                  text COLLATE "C" NOT NULL,
    cidrs                 text[] NOT NULL DEFAULT '{}',
    ports                 integer[] NOT NULL DEFAULT '{443}',
    enabled               boolean NOT NULL DEFAULT true,
    scan_interval_hours   integer NOT NULL DEFAULT 6 CHECK (scan_interval_hours > 0),
    timeout_ms            integer NOT NULL DEFAULT 5000 CHECK (timeout_ms > 0),
    next_scan_at          timestamptz,
    last_scan_at          timestamptz,
    last_scan_duration_ms integer,
    last_scan_certs_found integer,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    revision              bigint NOT NULL DEFAULT 1
);
CREATE INDEX network_scan_targets_due_idx ON network_scan_targets (next_scan_at, id) WHERE enabled;

-- `next_check_at` is ours: which endpoints are due is a range scan.
CREATE TABLE endpoint_health_checks (
    id                     identifier PRIMARY KEY,
    endpoint               text COLLATE "C" NOT NULL,
    certificate_id         identifier REFERENCES managed_certificates (id) ON DELETE SET NULL,
    network_scan_target_id identifier REFERENCES network_scan_targets (id) ON DELETE SET NULL,
    expected_fingerprint   text NOT NULL DEFAULT '',
    observed_fingerprint   text NOT NULL DEFAULT '',
    status                 text COLLATE "C" NOT NULL DEFAULT 'unknown'
        CHECK (status IN ('healthy', 'degraded', 'down', 'cert_mismatch', 'unknown')),
    consecutive_failures   integer NOT NULL DEFAULT 0,
    response_time_ms       integer NOT NULL DEFAULT 0,
    tls_version            text NOT NULL DEFAULT '',
    cipher_suite           text NOT NULL DEFAULT '',
    cert_subject           text NOT NULL DEFAULT '',
    cert_issuer            text NOT NULL DEFAULT '',
    cert_expiry            timestamptz,
    next_check_at          timestamptz,
    last_checked_at        timestamptz,
    last_success_at        timestamptz,
    last_failure_at        timestamptz,
    last_transition_at     timestamptz,
    failure_reason         text NOT NULL DEFAULT '',
    degraded_threshold     integer NOT NULL DEFAULT 2,
    down_threshold         integer NOT NULL DEFAULT 5,
    check_interval_seconds integer NOT NULL DEFAULT 300 CHECK (check_interval_seconds > 0),
    enabled                boolean NOT NULL DEFAULT true,
    acknowledged           boolean NOT NULL DEFAULT false,
    acknowledged_by        text NOT NULL DEFAULT '',
    acknowledged_at        timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    revision               bigint NOT NULL DEFAULT 1
);
CREATE INDEX endpoint_health_checks_due_idx ON endpoint_health_checks (next_check_at, id) WHERE enabled;
CREATE INDEX endpoint_health_checks_status_idx ON endpoint_health_checks (status, id);
CREATE INDEX endpoint_health_checks_created_idx ON endpoint_health_checks (created_at, id);
CREATE INDEX endpoint_health_checks_certificate_idx ON endpoint_health_checks (certificate_id)
    WHERE certificate_id IS NOT NULL;
CREATE INDEX endpoint_health_checks_scan_target_idx ON endpoint_health_checks (network_scan_target_id)
    WHERE network_scan_target_id IS NOT NULL;

CREATE TABLE endpoint_health_history (
    id               identifier PRIMARY KEY,
    health_check_id  identifier NOT NULL REFERENCES endpoint_health_checks (id) ON DELETE CASCADE,
    status           text COLLATE "C" NOT NULL,
    response_time_ms integer NOT NULL DEFAULT 0,
    fingerprint      text NOT NULL DEFAULT '',
    failure_reason   text NOT NULL DEFAULT '',
    checked_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX endpoint_health_history_check_idx ON endpoint_health_history (health_check_id, checked_at);
CREATE INDEX endpoint_health_history_checked_idx ON endpoint_health_history (checked_at);

CREATE TABLE policy_rules (
    id         identifier PRIMARY KEY,
    name       text COLLATE "C" NOT NULL CONSTRAINT policy_rules_name_key UNIQUE,
    type       text COLLATE "C" NOT NULL CHECK (type IN (
        'AllowedIssuers', 'AllowedDomains', 'RequiredMetadata', 'AllowedEnvironments', 'RenewalLeadTime',
        'CertificateLifetime'
    )),
    config     jsonb NOT NULL DEFAULT '{}',
    enabled    boolean NOT NULL DEFAULT true,
    severity   text COLLATE "C" NOT NULL DEFAULT 'Warning' CHECK (severity IN ('Warning', 'Error', 'Critical')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision   bigint NOT NULL DEFAULT 1
);
CREATE TABLE policy_violations (
    id             identifier PRIMARY KEY,
    certificate_id identifier NOT NULL REFERENCES managed_certificates (id) ON DELETE CASCADE,
    rule_id        identifier NOT NULL REFERENCES policy_rules (id) ON DELETE CASCADE,
    message        text NOT NULL,
    severity       text COLLATE "C" NOT NULL CHECK (severity IN ('Warning', 'Error', 'Critical')),
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX policy_violations_rule_idx ON policy_violations (rule_id, created_at, id);
CREATE INDEX policy_violations_certificate_idx ON policy_violations (certificate_id);
