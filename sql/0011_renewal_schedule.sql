-- When certificates are renewed, told of and missed; and how far a changed policy has got with its certificates.

ALTER TABLE renewal_policies
    ADD COLUMN renewal_window_share double precision
        CHECK (renewal_window_share > 0 AND renewal_window_share < 1),
    ADD CONSTRAINT renewal_policies_one_window CHECK (renewal_window IS NULL OR renewal_window_share IS NULL);

ALTER TABLE managed_certificates
    ADD COLUMN valid_from          timestamptz,
    ADD COLUMN overdue_at          timestamptz,
    ADD COLUMN overdue_reported_at timestamptz;
UPDATE managed_certificates AS c SET valid_from = (
    SELECT max(v.not_before) FROM certificate_versions AS v
    WHERE v.certificate_id = c.id AND v.not_after = c.expires_at
)
WHERE c.expires_at IS NOT NULL;
-- What is overdue, reported or not: few, or there is something to be seen to.
CREATE INDEX managed_certificates_overdue_idx ON managed_certificates (overdue_at, id) WHERE overdue_at IS NOT NULL;
-- A policy's certificates in the order in which they are given new times.
DROP INDEX managed_certificates_policy_idx;
CREATE INDEX managed_certificates_policy_idx ON managed_certificates (renewal_policy_id, id);

-- Policies that have changed and whose certificates do not all follow yet. `after_id` is the last one that does. No
-- foreign key: one whose policy was deleted is as good as done, and is removed when its turn comes.
CREATE TABLE reschedulings (
    policy_id    identifier PRIMARY KEY,
    after_id     text COLLATE "C" NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL
);
-- Certificates of before this release have no times for alerts yet.
INSERT INTO reschedulings (policy_id, requested_at)
SELECT DISTINCT renewal_policy_id, now() FROM managed_certificates;

-- Who was told of which end, once for each threshold. The end comes first in the key, because rows are removed when it
-- is past; there is no foreign key, because certificates are archived and not deleted.
CREATE TABLE expiration_alerts (
    certificate_id identifier NOT NULL,
    expires_at     timestamptz NOT NULL,
    threshold_days integer NOT NULL,
    told_at        timestamptz NOT NULL,
    PRIMARY KEY (expires_at, certificate_id, threshold_days)
);

-- From when on the schedule may next begin a renewal with this issuer.
CREATE TABLE issuer_pace (
    issuer_id identifier PRIMARY KEY REFERENCES issuers (id) ON DELETE CASCADE,
    next_at   timestamptz NOT NULL
);
