-- What lists and statistics need so that they cost the same at a thousand certificates and at a million: totals that are
-- kept rather than counted, and indexes that answer a list without its rows. docs/decisions tells why so.
--
-- How totals are kept. Every change of a row leaves a note in the transaction that makes it: what the row was counted
-- under, and what it is counted under now. Notes are only ever added, so writers do not wait for one another. Whoever
-- asks for a total adds up what has been tallied and the notes; a loop tallies notes now and then (`tally_...`), in
-- one transaction, so that a total is exact in every snapshot. Notes have no index: there are as many as changes in a
-- few seconds.

-- --- certificates -----------------------------------------------------------------------------------------------------

-- What a certificate is counted under.
CREATE TYPE certificate_facets AS (
    status                 text COLLATE "C",
    environment            text COLLATE "C",
    owner_id               text COLLATE "C",
    team_id                text COLLATE "C",
    issuer_id              text COLLATE "C",
    certificate_profile_id text COLLATE "C",
    expires_at             timestamptz,
    created_at             timestamptz,
    updated_at             timestamptz
);
CREATE TABLE certificate_notes (
    before certificate_facets,
    after  certificate_facets
)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE FUNCTION note_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO certificate_notes (before, after) VALUES (
        CASE WHEN TG_OP <> 'INSERT' THEN
            ROW(OLD.status, OLD.environment, OLD.owner_id, OLD.team_id, OLD.issuer_id, OLD.certificate_profile_id,
                OLD.expires_at, OLD.created_at, OLD.updated_at)::certificate_facets
        END,
        CASE WHEN TG_OP <> 'DELETE' THEN
            ROW(NEW.status, NEW.environment, NEW.owner_id, NEW.team_id, NEW.issuer_id, NEW.certificate_profile_id,
                NEW.expires_at, NEW.created_at, NEW.updated_at)::certificate_facets
        END
    );
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_noted AFTER INSERT OR DELETE OR UPDATE OF
    status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at
    ON managed_certificates FOR EACH ROW EXECUTE FUNCTION note_certificate();

-- Teams, environments and statuses together, because keys are limited to teams and environments.
CREATE TABLE certificate_groups (
    team_id     text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL,
    n           bigint NOT NULL,
    PRIMARY KEY (team_id, environment, status)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- `facet` is the column: owner_id, issuer_id, certificate_profile_id.
CREATE TABLE certificate_facet_counts (
    facet text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    n     bigint NOT NULL,
    PRIMARY KEY (facet, value)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
-- `facet` is created_at, updated_at, expires_at, or in_use: the end of those that somebody uses. Days are those of UTC;
-- days and hours are named by their beginning.
CREATE TABLE certificate_days (
    facet text COLLATE "C" NOT NULL,
    day   timestamptz NOT NULL,
    n     bigint NOT NULL,
    PRIMARY KEY (facet, day)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE certificate_hours (
    facet text COLLATE "C" NOT NULL,
    hour  timestamptz NOT NULL,
    n     bigint NOT NULL,
    PRIMARY KEY (facet, hour)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- A change as what it takes away and what it adds.
CREATE VIEW certificate_deltas AS
    SELECT 1 AS n, (after).* FROM certificate_notes WHERE (after).status IS NOT NULL
    UNION ALL
    SELECT -1, (before).* FROM certificate_notes WHERE (before).status IS NOT NULL;

CREATE FUNCTION hour_of(at timestamptz) RETURNS timestamptz IMMUTABLE LANGUAGE sql
    RETURN date_bin(interval '1 hour', at, timestamptz '2000-01-01T00:00:00Z');

CREATE FUNCTION day_of(at timestamptz) RETURNS timestamptz IMMUTABLE LANGUAGE sql
    RETURN date_bin(interval '1 day', at, timestamptz '2000-01-01T00:00:00Z');

CREATE FUNCTION is_in_use(status text) RETURNS boolean IMMUTABLE LANGUAGE sql
    RETURN status IN ('Active', 'Expiring', 'Failed', 'RenewalInProgress');

-- --- what has a type and a status ------------------------------------------------------------------------------------

-- `kind` is the table. `ended` says that the row came to its end with this change, and at which time: jobs and
-- notifications do so once or, when somebody asks them to start over, several times.
CREATE TABLE status_notes (
    kind          text COLLATE "C" NOT NULL,
    before_type   text COLLATE "C",
    before_status text COLLATE "C",
    after_type    text COLLATE "C",
    after_status  text COLLATE "C",
    ended         timestamptz
)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE TABLE status_counts (
    kind   text COLLATE "C" NOT NULL,
    type   text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    n      bigint NOT NULL,
    PRIMARY KEY (kind, type, status)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE VIEW status_deltas AS
    SELECT 1 AS n, kind, after_type AS type, after_status AS status FROM status_notes WHERE after_status IS NOT NULL
    UNION ALL
    SELECT -1, kind, before_type, before_status FROM status_notes WHERE before_status IS NOT NULL;

-- How many ended how on which day (UTC). What is deleted later did happen: these only grow.
CREATE TABLE daily_endings (
    kind   text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    day    date NOT NULL,
    n      bigint NOT NULL,
    PRIMARY KEY (kind, status, day)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- A job ends Completed, or Failed without another attempt to come.
CREATE FUNCTION note_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended timestamptz;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status = 'Completed' OR (NEW.status = 'Failed' AND NEW.next_attempt_at IS NULL) THEN
            ended := coalesce(NEW.completed_at, NEW.updated_at);
        END IF;
        INSERT INTO status_notes VALUES ('jobs', NULL, NULL, NEW.type, NEW.status, ended);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO status_notes VALUES ('jobs', OLD.type, OLD.status, NULL, NULL, NULL);
    ELSE
        IF (NEW.status = 'Completed' AND OLD.status <> 'Completed')
            OR (NEW.status = 'Failed' AND NEW.next_attempt_at IS NULL
                AND NOT (OLD.status = 'Failed' AND OLD.next_attempt_at IS NULL)) THEN
            ended := coalesce(NEW.completed_at, NEW.updated_at);
        END IF;
        INSERT INTO status_notes VALUES ('jobs', OLD.type, OLD.status, NEW.type, NEW.status, ended);
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER jobs_noted AFTER INSERT OR DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION note_job();
CREATE TRIGGER jobs_changed_noted AFTER UPDATE OF status, type, next_attempt_at ON jobs FOR EACH ROW
    WHEN ((OLD.status, OLD.type, OLD.next_attempt_at) IS DISTINCT FROM (NEW.status, NEW.type, NEW.next_attempt_at))
    EXECUTE FUNCTION note_job();

-- A notification ends sent or dead.
CREATE FUNCTION note_notification() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended timestamptz;
BEGIN
    IF TG_OP <> 'DELETE' AND NEW.status IN ('sent', 'dead') AND (TG_OP = 'INSERT' OR OLD.status <> NEW.status) THEN
        ended := coalesce(NEW.sent_at, now());
    END IF;
    INSERT INTO status_notes VALUES (
        'notification_events',
        CASE WHEN TG_OP <> 'INSERT' THEN OLD.type END, CASE WHEN TG_OP <> 'INSERT' THEN OLD.status END,
        CASE WHEN TG_OP <> 'DELETE' THEN NEW.type END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.status END,
        ended
    );
    RETURN NULL;
END;
$$;
CREATE TRIGGER notification_events_noted AFTER INSERT OR DELETE ON notification_events
    FOR EACH ROW EXECUTE FUNCTION note_notification();
CREATE TRIGGER notification_events_changed_noted AFTER UPDATE OF status, type ON notification_events FOR EACH ROW
    WHEN ((OLD.status, OLD.type) IS DISTINCT FROM (NEW.status, NEW.type)) EXECUTE FUNCTION note_notification();

-- What discovery finds has no type.
CREATE FUNCTION note_discovered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_notes VALUES (
        'discovered_certificates',
        CASE WHEN TG_OP <> 'INSERT' THEN '' END, CASE WHEN TG_OP <> 'INSERT' THEN OLD.status END,
        CASE WHEN TG_OP <> 'DELETE' THEN '' END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.status END,
        NULL
    );
    RETURN NULL;
END;
$$;
CREATE TRIGGER discovered_certificates_noted AFTER INSERT OR DELETE ON discovered_certificates
    FOR EACH ROW EXECUTE FUNCTION note_discovered();
CREATE TRIGGER discovered_certificates_changed_noted AFTER UPDATE OF status ON discovered_certificates FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note_discovered();

-- --- the audit trail ---------------------------------------------------------------------------------------------------

-- Events that are leaves are counted when they become leaves; those that wait to be sealed are few, and read.
CREATE TABLE audit_facet_counts (
    facet text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    n     bigint NOT NULL,
    PRIMARY KEY (facet, value)
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE audit_days (
    day timestamptz PRIMARY KEY,
    n   bigint NOT NULL
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE TABLE audit_hours (
    hour timestamptz PRIMARY KEY,
    n    bigint NOT NULL
)
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

CREATE FUNCTION count_leaves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH events AS MATERIALIZED (
        SELECT e.actor, e.action, e.resource_type, e.timestamp FROM added AS a JOIN audit_events AS e ON e.seq = a.seq
    ), hours AS (
        INSERT INTO audit_hours AS known (hour, n) SELECT hour_of(timestamp), count(*) FROM events GROUP BY 1
        ON CONFLICT (hour) DO UPDATE SET n = known.n + excluded.n
    ), days AS (
        INSERT INTO audit_days AS known (day, n) SELECT day_of(timestamp), count(*) FROM events GROUP BY 1
        ON CONFLICT (day) DO UPDATE SET n = known.n + excluded.n
    )
    INSERT INTO audit_facet_counts AS known (facet, value, n)
    SELECT f.facet, f.value, count(*) FROM events AS e, LATERAL (VALUES
        ('actor', e.actor), ('action', e.action), ('resource_type', e.resource_type)
    ) AS f (facet, value)
    GROUP BY 1, 2
    ON CONFLICT (facet, value) DO UPDATE SET n = known.n + excluded.n;
    RETURN NULL;
END;
$$;
CREATE TRIGGER audit_leaves_counted AFTER INSERT ON audit_leaves REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_leaves();

-- --- issuing ----------------------------------------------------------------------------------------------------------

-- How much was issued on each day (UTC) that is over. The day's versions are counted once, when no transaction can add
-- to it any more.
CREATE TABLE daily_issuances (
    day date PRIMARY KEY,
    n   bigint NOT NULL
);

-- --- tallying ---------------------------------------------------------------------------------------------------------

-- Take at most so many notes of each sort into the tallies; returns how many there were. One at a time: whoever comes
-- second would wait for the rows of the first anyway.
CREATE FUNCTION tally_notes(most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    certificates bigint;
    others bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('certctl/tallies', 0));
    WITH gone AS (
        DELETE FROM certificate_notes WHERE ctid = ANY (ARRAY(SELECT ctid FROM certificate_notes LIMIT most))
        RETURNING before, after
    ), deltas AS MATERIALIZED (
        SELECT 1 AS n, (after).* FROM gone WHERE (after).status IS NOT NULL
        UNION ALL
        SELECT -1, (before).* FROM gone WHERE (before).status IS NOT NULL
    ), groups AS (
        INSERT INTO certificate_groups AS known (team_id, environment, status, n)
        SELECT team_id, environment, status, sum(n) FROM deltas GROUP BY 1, 2, 3 HAVING sum(n) <> 0
        ON CONFLICT (team_id, environment, status) DO UPDATE SET n = known.n + excluded.n
    ), facets AS (
        INSERT INTO certificate_facet_counts AS known (facet, value, n)
        SELECT f.facet, f.value, sum(d.n) FROM deltas AS d, LATERAL (VALUES
            ('owner_id', d.owner_id), ('issuer_id', d.issuer_id), ('certificate_profile_id', d.certificate_profile_id)
        ) AS f (facet, value)
        WHERE f.value IS NOT NULL GROUP BY 1, 2 HAVING sum(d.n) <> 0
        ON CONFLICT (facet, value) DO UPDATE SET n = known.n + excluded.n
    ), changed_hours AS MATERIALIZED (
        SELECT f.facet, hour_of(f.at) AS hour, sum(d.n) AS n FROM deltas AS d, LATERAL (VALUES
            ('created_at', d.created_at), ('updated_at', d.updated_at), ('expires_at', d.expires_at),
            ('in_use', CASE WHEN is_in_use(d.status) THEN d.expires_at END)
        ) AS f (facet, at)
        WHERE f.at IS NOT NULL GROUP BY 1, 2 HAVING sum(d.n) <> 0
    ), hours AS (
        INSERT INTO certificate_hours AS known (facet, hour, n) SELECT facet, hour, n FROM changed_hours
        ON CONFLICT (facet, hour) DO UPDATE SET n = known.n + excluded.n
    ), days AS (
        INSERT INTO certificate_days AS known (facet, day, n)
        SELECT facet, day_of(hour), sum(n) FROM changed_hours GROUP BY 1, 2 HAVING sum(n) <> 0
        ON CONFLICT (facet, day) DO UPDATE SET n = known.n + excluded.n
    )
    SELECT count(*) INTO certificates FROM gone;
    WITH gone AS (
        DELETE FROM status_notes WHERE ctid = ANY (ARRAY(SELECT ctid FROM status_notes LIMIT most)) RETURNING *
    ), deltas AS MATERIALIZED (
        SELECT 1 AS n, kind, after_type AS type, after_status AS status FROM gone WHERE after_status IS NOT NULL
        UNION ALL
        SELECT -1, kind, before_type, before_status FROM gone WHERE before_status IS NOT NULL
    ), counts AS (
        INSERT INTO status_counts AS known (kind, type, status, n)
        SELECT kind, type, status, sum(n) FROM deltas GROUP BY 1, 2, 3 HAVING sum(n) <> 0
        ON CONFLICT (kind, type, status) DO UPDATE SET n = known.n + excluded.n
    ), endings AS (
        INSERT INTO daily_endings AS known (kind, status, day, n)
        SELECT kind, after_status, (ended AT TIME ZONE 'UTC')::date, count(*) FROM gone WHERE ended IS NOT NULL
        GROUP BY 1, 2, 3
        ON CONFLICT (kind, status, day) DO UPDATE SET n = known.n + excluded.n
    )
    SELECT count(*) INTO others FROM gone;
    RETURN certificates + others;
END;
$$;

CREATE FUNCTION forget_empty_tallies() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('certctl/tallies', 0));
    DELETE FROM certificate_groups WHERE n = 0;
    DELETE FROM certificate_facet_counts WHERE n = 0;
    DELETE FROM certificate_days WHERE n = 0;
    DELETE FROM certificate_hours WHERE n = 0;
    DELETE FROM status_counts WHERE n = 0;
END;
$$;

-- Count everything anew, for what was there before this migration and for rows that came past the triggers. Writers
-- wait. What ended before is known as far as its rows are still there.
CREATE FUNCTION recount() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE managed_certificates, jobs, notification_events, discovered_certificates, audit_leaves IN SHARE MODE;
    TRUNCATE certificate_notes, certificate_groups, certificate_facet_counts, certificate_days,
        certificate_hours, status_notes, status_counts, daily_endings, audit_facet_counts, audit_days, audit_hours;
    INSERT INTO certificate_notes (after)
    SELECT ROW(status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at,
               updated_at)::certificate_facets
    FROM managed_certificates;
    INSERT INTO status_notes (kind, after_type, after_status, ended)
    SELECT 'jobs', type, status,
           CASE WHEN status = 'Completed' OR (status = 'Failed' AND next_attempt_at IS NULL)
                THEN coalesce(completed_at, updated_at) END
    FROM jobs
    UNION ALL
    SELECT 'notification_events', type, status,
           CASE WHEN status IN ('sent', 'dead') THEN coalesce(sent_at, created_at) END
    FROM notification_events
    UNION ALL
    SELECT 'discovered_certificates', '', status, NULL FROM discovered_certificates;
    PERFORM tally_notes(9223372036854775807);
    TRUNCATE certificate_notes, status_notes;
    INSERT INTO audit_hours (hour, n)
    SELECT hour_of(e.timestamp), count(*) FROM audit_leaves AS l JOIN audit_events AS e USING (seq) GROUP BY 1;
    INSERT INTO audit_days (day, n) SELECT day_of(hour), sum(n) FROM audit_hours GROUP BY 1;
    INSERT INTO audit_facet_counts (facet, value, n)
    SELECT f.facet, f.value, count(*) FROM audit_leaves AS l JOIN audit_events AS e USING (seq), LATERAL (VALUES
        ('actor', e.actor), ('action', e.action), ('resource_type', e.resource_type)
    ) AS f (facet, value)
    GROUP BY 1, 2;
END;
$$;

-- --- indexes of lists -------------------------------------------------------------------------------------------------

-- What lists are sorted by, with the id to tell ties apart, and everything they are filtered by beside it: which rows
-- are on a page is answered from the index alone. A certificate that was never issued expires last.
DROP INDEX managed_certificates_created_idx, managed_certificates_updated_idx, managed_certificates_expires_idx,
    managed_certificates_name_idx, managed_certificates_common_name_idx, managed_certificates_environment_idx,
    managed_certificates_status_idx;
CREATE INDEX managed_certificates_created_idx ON managed_certificates (created_at, id) INCLUDE
    (status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, updated_at);
CREATE INDEX managed_certificates_updated_idx ON managed_certificates (updated_at, id) INCLUDE
    (status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at);
CREATE INDEX managed_certificates_expires_idx
    ON managed_certificates ((coalesce(expires_at, timestamptz 'infinity')), id) INCLUDE
    (status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at);
CREATE INDEX managed_certificates_name_idx ON managed_certificates (name, id) INCLUDE
    (status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at);
CREATE INDEX managed_certificates_common_name_idx ON managed_certificates (common_name, id) INCLUDE
    (status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at);
CREATE INDEX managed_certificates_environment_idx ON managed_certificates (environment, id) INCLUDE
    (status, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at);
CREATE INDEX managed_certificates_status_idx ON managed_certificates (status, id) INCLUDE
    (environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at, updated_at);
-- A status says much about the end, so that going through either in order would pass by most rows.
CREATE INDEX managed_certificates_status_expires_idx
    ON managed_certificates (status, (coalesce(expires_at, timestamptz 'infinity')), id) INCLUDE (expires_at);
-- What they are filtered by: in the usual order, and with everything else to sort by beside it.
DROP INDEX managed_certificates_owner_idx, managed_certificates_team_idx, managed_certificates_issuer_idx,
    managed_certificates_profile_idx;
CREATE INDEX managed_certificates_owner_idx ON managed_certificates (owner_id, created_at, id) INCLUDE
    (status, environment, expires_at, updated_at, name, common_name);
CREATE INDEX managed_certificates_team_idx ON managed_certificates (team_id, created_at, id) INCLUDE
    (status, environment, expires_at, updated_at, name, common_name);
CREATE INDEX managed_certificates_issuer_idx ON managed_certificates (issuer_id, created_at, id) INCLUDE
    (status, environment, expires_at, updated_at, name, common_name);
CREATE INDEX managed_certificates_profile_idx ON managed_certificates (certificate_profile_id, created_at, id) INCLUDE
    (status, environment, expires_at, updated_at, name, common_name) WHERE certificate_profile_id IS NOT NULL;
-- An index answers alone for pages that VACUUM has seen since they were last written.
ALTER TABLE managed_certificates SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.02
);

-- Names, to be searched by a part of them, apart from the row: an index of their parts is dear to write to, and every
-- renewal writes the row.
CREATE TABLE certificate_names (
    certificate_id identifier PRIMARY KEY,
    names          text NOT NULL
);
CREATE FUNCTION follow_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM certificate_names WHERE certificate_id = OLD.id;
    ELSE
        INSERT INTO certificate_names (certificate_id, names) VALUES (NEW.id, NEW.name || E'\n' || NEW.common_name)
        ON CONFLICT (certificate_id) DO UPDATE SET names = excluded.names;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_names AFTER INSERT OR DELETE ON managed_certificates
    FOR EACH ROW EXECUTE FUNCTION follow_names();
CREATE TRIGGER managed_certificates_names_changed AFTER UPDATE OF name, common_name ON managed_certificates
    FOR EACH ROW WHEN ((OLD.name, OLD.common_name) IS DISTINCT FROM (NEW.name, NEW.common_name))
    EXECUTE FUNCTION follow_names();
INSERT INTO certificate_names (certificate_id, names)
SELECT id, name || E'\n' || common_name FROM managed_certificates;
DO $$
BEGIN
    IF to_regclass('managed_certificates_name_trgm_idx') IS NULL THEN
        RETURN; -- pg_trgm is not there, or its place is not searched: see 0007.
    END IF;
    DROP INDEX managed_certificates_name_trgm_idx, managed_certificates_common_name_trgm_idx;
    CREATE INDEX certificate_names_trgm_idx ON certificate_names USING gin (names gin_trgm_ops);
END;
$$;

-- Jobs by type and by agent; nothing sorts them by other times than that of their creation.
DROP INDEX jobs_updated_idx, jobs_scheduled_idx;
CREATE INDEX jobs_type_idx ON jobs (type, created_at, id);
CREATE INDEX jobs_agent_idx ON jobs (agent_id, created_at, id) WHERE agent_id IS NOT NULL;

SELECT recount();
