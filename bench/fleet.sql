-- A fleet of pg_temp.size() certificates as it stands at pg_temp.at(), and everything around it.
--
-- Everything follows from its number n: pg_temp.pick(n, about, choices) is a number below `choices` that looks random
-- and is always the same. Nothing is due within two days of at(), so that a sweep finds nothing to do.
--
-- Each certificate's DER is a template that certctl's own CA signed, with serial number, names and validity written over
-- those of the template. So it reads back as what the row says, and its fingerprint is its own. Only the signature is
-- the template's and does not verify: making a million would be an hour of signing that no list or sweep looks at.

INSERT INTO teams (id, name, created_at, updated_at)
SELECT format('t-%s', lpad(n::text, 3, '0')), format('Team %s', n), pg_temp.at() - interval '3 years', pg_temp.at()
FROM generate_series(1, pg_temp.teams()) AS n;

INSERT INTO owners (id, name, email, team_id, created_at, updated_at)
SELECT format('o-%s', lpad(n::text, 4, '0')), format('Owner %s', n), format('owner-%s@example.com', n),
       format('t-%s', lpad((n % pg_temp.teams() + 1)::text, 3, '0')), pg_temp.at() - interval '3 years', pg_temp.at()
FROM generate_series(1, 10 * pg_temp.teams()) AS n;

INSERT INTO certificate_profiles (id, name, max_ttl, created_at, updated_at)
SELECT format('prof-%s', lpad(n::text, 2, '0')), format('Profile %s', n), n * interval '90 days',
       pg_temp.at() - interval '3 years', pg_temp.at()
FROM generate_series(1, 10) AS n;

INSERT INTO renewal_policies (id, name, max_retries, created_at, updated_at)
SELECT format('rp-%s', lpad(n::text, 2, '0')), format('Policy %s', n), n, pg_temp.at() - interval '3 years', pg_temp.at()
FROM generate_series(1, 5) AS n;

INSERT INTO issuers (id, name, type, created_at, updated_at)
SELECT format('iss-%s', n), format('Issuer %s', n), 'GenericCA', pg_temp.at() - interval '3 years', pg_temp.at()
FROM generate_series(2, 5) AS n;

INSERT INTO agents (
    id, name, hostname, status, os, architecture, ip_address, version, last_heartbeat_at, registered_at
)
SELECT pg_temp.agent(n), format('web-%s', n), format('web-%s.example.com', n),
       CASE WHEN pg_temp.pick(n, 1, 20) = 0 THEN 'Offline' ELSE 'Online' END,
       (ARRAY['linux', 'linux', 'linux', 'windows'])[pg_temp.pick(n, 2, 4) + 1],
       (ARRAY['amd64', 'amd64', 'arm64'])[pg_temp.pick(n, 3, 3) + 1],
       format('10.%s.%s.%s', n / 65536, n / 256 % 256, n % 256),
       (ARRAY['1.0.0', '1.1.0', '1.2.0'])[pg_temp.pick(n, 4, 3) + 1],
       pg_temp.at() - pg_temp.pick(n, 5, 60) * interval '1 second',
       pg_temp.at() - interval '3 years' + n * interval '1 hour'
FROM generate_series(1, pg_temp.agents()) AS n;

INSERT INTO api_keys (id, name, key_hash, role, agent_id, created_by, created_at, last_used_at)
SELECT format('key-%s', lpad(n::text, 5, '0')), format('web-%s', n),
       encode(sha256(convert_to(format('cck_bench-%s', pg_temp.agent(n)), 'UTF8')), 'hex'), 'agent', pg_temp.agent(n),
       'bench', pg_temp.at() - interval '3 years' + n * interval '1 hour', pg_temp.at()
FROM generate_series(1, pg_temp.agents()) AS n;

INSERT INTO api_keys (id, name, key_hash, role, created_by, created_at)
SELECT format('key-%s', role), format('bench %s', role),
       encode(sha256(convert_to(format('cck_bench-%s', role), 'UTF8')), 'hex'), role, 'bench', pg_temp.at()
FROM unnest(ARRAY['admin', 'operator', 'viewer', 'auditor']) AS role;

INSERT INTO deployment_targets (id, name, type, agent_id, config, created_at, updated_at)
SELECT pg_temp.target(n), format('site-%s', n), 'NGINX', pg_temp.agent((n - 1) % pg_temp.agents() + 1),
       jsonb_build_object('cert_path', format('/srv/%s.pem', n), 'key_path', format('/srv/%s.key', n)),
       pg_temp.at() - interval '3 years' + n * interval '1 hour', pg_temp.at() - interval '1 year'
FROM generate_series(1, 2 * pg_temp.agents()) AS n;

INSERT INTO managed_certificates (
    id, name, common_name, sans, environment, owner_id, team_id, issuer_id, renewal_policy_id, certificate_profile_id,
    target_ids, tags, source, status, generation, valid_from, expires_at, renew_at, next_alert_at, overdue_at,
    overdue_reported_at, last_renewal_at, last_deployment_at, revoked_at, revocation_reason, created_at, updated_at
)
SELECT pg_temp.certificate(n), format('svc-%s', lpad(n::text, 7, '0')), cn, ARRAY[cn, 'www.' || cn],
       -- A few in a small environment, so that a filter which leaves little is among those measured.
       CASE WHEN place < 600 THEN 'production' WHEN place < 850 THEN 'staging' WHEN place < 999 THEN 'development'
            ELSE 'laboratory' END,
       format('o-%s', lpad(owner::text, 4, '0')), format('t-%s', lpad((owner % pg_temp.teams() + 1)::text, 3, '0')),
       CASE WHEN issuer < 6 THEN 'iss-local' ELSE format('iss-%s', issuer - 4) END,
       format('rp-%s', lpad((pg_temp.pick(n, 14, 5) + 1)::text, 2, '0')),
       CASE WHEN profile < 10 THEN format('prof-%s', lpad((profile + 1)::text, 2, '0')) END,
       ARRAY[pg_temp.target(n % (2 * pg_temp.agents()) + 1)],
       CASE WHEN n % 3 = 0 THEN jsonb_build_object('cost-center', format('cc-%s', n % 40)) ELSE '{}' END,
       CASE WHEN n % 10 = 0 THEN 'ACME' ELSE 'API' END,
       status,
       CASE WHEN status = 'Pending' THEN 0 WHEN n % 5 = 0 THEN 2 ELSE 1 END,
       expires_at - interval '90 days', expires_at,
       CASE WHEN status = 'Active' THEN expires_at - interval '27 days'
            WHEN status = 'Expiring' THEN pg_temp.at() + interval '3 days' + share * interval '3 days' END,
       CASE WHEN status = 'Active' THEN expires_at - interval '27 days'
            WHEN status = 'Expiring' THEN pg_temp.at() + interval '3 days' + share * interval '3 days' END,
       -- One in a hundred is overdue, and was reported.
       CASE WHEN status IN ('Active', 'Failed', 'RenewalInProgress') THEN expires_at - interval '22 days' END,
       CASE WHEN status IN ('Failed', 'RenewalInProgress') THEN expires_at - interval '22 days' END,
       expires_at - interval '90 days', expires_at - interval '90 days' + interval '1 minute',
       CASE WHEN status = 'Revoked' THEN pg_temp.at() - share * interval '30 days' END,
       CASE WHEN status = 'Revoked' THEN 'superseded' END,
       pg_temp.at() - interval '3 years' + n * (interval '1090 days' / pg_temp.size()),
       pg_temp.at() - pg_temp.pick(n, 15, 60 * 86400) * interval '1 second'
FROM (
    SELECT n, format('svc-%s.t-%s.example.com', lpad(n::text, 7, '0'),
                     lpad((owner % pg_temp.teams() + 1)::text, 3, '0')) AS cn,
           place, owner, issuer, profile, share, status,
           date_trunc('second', CASE status
               WHEN 'Pending' THEN NULL
               WHEN 'Active' THEN pg_temp.at() + interval '30 days' + share * interval '60 days'
               WHEN 'Expiring' THEN pg_temp.at() + interval '3 days' + share * interval '27 days'
               WHEN 'RenewalInProgress' THEN pg_temp.at() + interval '3 days' + share * interval '27 days'
               WHEN 'Failed' THEN pg_temp.at() + interval '3 days' + share * interval '20 days'
               WHEN 'Revoked' THEN pg_temp.at() + share * interval '60 days'
               ELSE pg_temp.at() - share * interval '365 days'
           END) AS expires_at
    FROM (
        SELECT n, pg_temp.pick(n, 10, 1000) AS place, pg_temp.pick(n, 11, 10 * pg_temp.teams()) + 1 AS owner,
               pg_temp.pick(n, 12, 10) AS issuer, pg_temp.pick(n, 13, 12) AS profile,
               pg_temp.pick(n, 16, 1000000) / 1000000.0 AS share,
               CASE WHEN life < 880 THEN 'Active' WHEN life < 920 THEN 'Expiring' WHEN life < 925 THEN 'RenewalInProgress'
                    WHEN life < 945 THEN 'Pending' WHEN life < 965 THEN 'Expired' WHEN life < 970 THEN 'Failed'
                    WHEN life < 980 THEN 'Revoked' ELSE 'Archived' END AS status
        FROM (SELECT n, pg_temp.pick(n, 17, 1000) AS life FROM generate_series(1, pg_temp.size()) AS n) AS lives
    ) AS picked
) AS certificates;

INSERT INTO certificate_target_mappings (certificate_id, target_id, installed_at, served_at)
SELECT id, target_ids[1], last_deployment_at, last_deployment_at FROM managed_certificates
ON CONFLICT DO NOTHING;

INSERT INTO certificate_names (certificate_id, names)
SELECT id, name || E'\n' || common_name FROM managed_certificates
ON CONFLICT DO NOTHING;

-- What was issued: the newest generation of each certificate and, of every fifth, the one before.
INSERT INTO certificate_versions (
    id, certificate_id, generation, agent_id, issuer_id, serial_number, not_before, not_after, fingerprint_sha256,
    certificate_der, chain_sha256, key_algorithm, key_size, created_at
)
SELECT format('certver-%s-%s', substr(certificate_id, 4), generation), certificate_id, generation, agent_id, issuer_id,
       encode(serial, 'hex'), not_before, not_after, encode(sha256(der), 'hex'), der, chain_sha256, 'ECDSA', 256,
       not_before
FROM (
    SELECT c.id AS certificate_id, g.generation, d.agent_id, c.issuer_id, serial, not_before, not_after, t.chain_sha256,
           overlay(overlay(overlay(overlay(overlay(overlay(t.der
               PLACING serial FROM t.serial_at)
               PLACING pg_temp.utc_time(not_before) FROM t.not_before_at)
               PLACING pg_temp.utc_time(not_after) FROM t.not_after_at)
               PLACING convert_to(c.common_name, 'UTF8') FROM t.name_at[1])
               PLACING convert_to(c.common_name, 'UTF8') FROM t.name_at[2])
               PLACING convert_to(c.common_name, 'UTF8') FROM t.name_at[3]) AS der
    FROM managed_certificates AS c
    JOIN deployment_targets AS d ON d.id = c.target_ids[1]
    CROSS JOIN LATERAL generate_series(1, c.generation) AS g (generation)
    CROSS JOIN LATERAL (
        SELECT c.expires_at - (c.generation - g.generation) * interval '60 days' AS not_after,
               decode('7f' || substr(md5(c.id || g.generation), 1, 30), 'hex') AS serial
    ) AS ends
    CROSS JOIN LATERAL (SELECT not_after - interval '90 days' AS not_before) AS begins
    JOIN pg_temp.templates AS t ON t.n = pg_temp.pick(substr(c.id, 4)::bigint, 20, (SELECT count(*) FROM pg_temp.templates))
) AS issued;

INSERT INTO certificate_revocations (
    id, certificate_id, issuer_id, serial_number, reason, revoked_by, revoked_at, not_after
)
SELECT format('rev-%s', v.serial_number), c.id, v.issuer_id, v.serial_number, c.revocation_reason, 'bench', c.revoked_at,
       v.not_after
FROM managed_certificates AS c JOIN certificate_versions AS v ON v.certificate_id = c.id
WHERE c.status = 'Revoked';

INSERT INTO revocation_counts (issuer_id, revocations)
SELECT issuer_id, count(*) FROM certificate_revocations GROUP BY issuer_id;

-- A job for each certificate in renewal, which waits for its agent, and others of the last ninety days.
INSERT INTO jobs (
    id, type, certificate_id, target_id, agent_id, status, attempts, last_error, requested_by, scheduled_at, started_at,
    completed_at, created_at, updated_at
)
SELECT format('job-%s', lpad((1000000 + row_number() OVER (ORDER BY c.id))::text, 8, '0')), 'Renewal', c.id, NULL,
       d.agent_id, 'AwaitingCSR', 0, '', 'system', pg_temp.at(), NULL, NULL, pg_temp.at(), pg_temp.at()
FROM managed_certificates AS c JOIN deployment_targets AS d ON d.id = c.target_ids[1]
WHERE c.status = 'RenewalInProgress';

INSERT INTO jobs (
    id, type, certificate_id, target_id, agent_id, status, attempts, last_error, requested_by, scheduled_at, started_at,
    completed_at, created_at, updated_at
)
SELECT format('job-%s', lpad(work.n::text, 8, '0')), work.type, c.id, CASE work.type WHEN 'Deployment' THEN d.id END, d.agent_id,
       work.status, 1, CASE work.status WHEN 'Failed' THEN 'nginx: [emerg] cannot load certificate' ELSE '' END,
       CASE WHEN work.n % 20 = 0 THEN format('user-%s', work.n % 200) ELSE 'system' END, began, began,
       CASE WHEN work.status IN ('Completed', 'Failed', 'Cancelled') THEN began + interval '20 seconds' END, began,
       began + interval '20 seconds'
FROM (
    SELECT n, CASE WHEN n % 2 = 0 THEN 'Deployment' ELSE 'Renewal' END AS type,
           CASE WHEN life < 920 OR n % 2 = 1 THEN 'Completed' WHEN life < 960 THEN 'Pending' WHEN life < 990 THEN 'Failed'
                ELSE 'Cancelled' END AS status,
           pg_temp.at() - interval '90 days' + n * (interval '89 days' / (pg_temp.size() / 5)) AS began
    FROM (SELECT n, pg_temp.pick(n, 30, 1000) AS life FROM generate_series(1, pg_temp.size() / 5) AS n) AS lives
) AS work
JOIN managed_certificates AS c ON c.id = pg_temp.certificate(work.n * 5)
JOIN deployment_targets AS d ON d.id = c.target_ids[1];

INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id, details, request_id, timestamp)
SELECT format('audit-%s', lpad(n::text, 8, '0')),
       CASE WHEN who < 500 THEN 'system' WHEN who < 800 THEN pg_temp.agent(n % pg_temp.agents() + 1)
            ELSE format('user-%s', n % 200) END,
       CASE WHEN who < 500 THEN 'System' WHEN who < 800 THEN 'Agent' ELSE 'User' END,
       (ARRAY['renewal_job_created', 'csr_submitted', 'certificate_issued', 'deployment_job_completed',
              'certificate_updated', 'certificate_created', 'job_retry', 'certificate_revoked'])[n % 8 + 1],
       'certificate', pg_temp.certificate(pg_temp.pick(n, 40, pg_temp.size()) + 1),
       format('{"common_name":"svc-%s.example.com"}', n), '',
       pg_temp.at() - interval '365 days' + n * (interval '365 days' / pg_temp.size())
FROM (SELECT n, pg_temp.pick(n, 41, 1000) AS who FROM generate_series(1, pg_temp.size()) AS n) AS events
ORDER BY n;

INSERT INTO notification_events (id, type, certificate_id, channel, recipient, message, status, sent_at, created_at)
SELECT format('notif-%s', lpad(n::text, 8, '0')), 'ExpirationWarning', pg_temp.certificate(n * 20), 'Email',
       format('owner-%s@example.com', n % 500), 'expires soon',
       CASE WHEN n % 200 = 0 THEN 'dead' WHEN n % 3 = 0 THEN 'read' ELSE 'sent' END,
       pg_temp.at() - interval '90 days' + n * (interval '90 days' / (pg_temp.size() / 20)),
       pg_temp.at() - interval '90 days' + n * (interval '90 days' / (pg_temp.size() / 20))
FROM generate_series(1, pg_temp.size() / 20) AS n;

INSERT INTO discovered_certificates (
    id, fingerprint_sha256, common_name, sans, serial_number, issuer_dn, subject_dn, not_before, not_after, key_algorithm,
    key_size, source_path, agent_id, status, first_seen_at, last_seen_at, created_at, updated_at
)
SELECT format('dcert-%s', lpad(n::text, 8, '0')), encode(sha256(n::text::bytea), 'hex'), format('old-%s.example.com', n),
       ARRAY[format('old-%s.example.com', n)], to_hex(n), 'CN=Old CA', format('CN=old-%s.example.com', n),
       pg_temp.at() - interval '200 days', pg_temp.at() + pg_temp.pick(n, 50, 365) * interval '1 day', 'RSA', 2048,
       format('/etc/ssl/%s.pem', n), pg_temp.agent(n % pg_temp.agents() + 1),
       CASE WHEN n % 10 = 0 THEN 'Dismissed' WHEN n % 3 = 0 THEN 'Managed' ELSE 'Unmanaged' END,
       pg_temp.at() - interval '100 days', pg_temp.at(), pg_temp.at() - interval '100 days' + n * interval '1 second',
       pg_temp.at()
FROM generate_series(1, pg_temp.size() / 20) AS n;
