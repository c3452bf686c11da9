-- What changes of many rows cost, and what lists cost that pass by many.

-- --- notes by statement -----------------------------------------------------------------------------------------------

-- Most of what is written comes in groups. One look at all rows of a statement costs a row a third of what a call for
-- each of them does where there are hundreds, as much where there are ten, and twice as much for a single one. Rows before and after are noted apart, because putting them together
-- would be planned for the first statement of a session, which may be of one row, and kept for one of five hundred.
DROP TRIGGER managed_certificates_noted ON managed_certificates;
DROP FUNCTION note_certificate();
CREATE FUNCTION note_certificates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO certificate_notes (before)
        SELECT ROW(status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at,
                   updated_at)::certificate_facets
        FROM gone;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO certificate_notes (after)
        SELECT ROW(status, environment, owner_id, team_id, issuer_id, certificate_profile_id, expires_at, created_at,
                   updated_at)::certificate_facets
        FROM come;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_added_noted AFTER INSERT ON managed_certificates
    REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION note_certificates();
CREATE TRIGGER managed_certificates_changed_noted AFTER UPDATE ON managed_certificates
    REFERENCING OLD TABLE AS gone NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION note_certificates();
CREATE TRIGGER managed_certificates_removed_noted AFTER DELETE ON managed_certificates
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_certificates();

-- Jobs and notifications that begin. What changes about them is mostly nothing that is counted, which a trigger by row
-- is not even called for; and whether one came to its end takes the row before and the row after together.
DROP TRIGGER jobs_noted ON jobs;
CREATE FUNCTION note_new_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_notes (kind, after_type, after_status, ended)
    SELECT 'jobs', type, status,
           CASE WHEN status = 'Completed' OR (status = 'Failed' AND next_attempt_at IS NULL)
                THEN coalesce(completed_at, updated_at) END
    FROM come;
    RETURN NULL;
END;
$$;
CREATE TRIGGER jobs_added_noted AFTER INSERT ON jobs
    REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION note_new_jobs();
CREATE TRIGGER jobs_removed_noted AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION note_job();

DROP TRIGGER notification_events_noted ON notification_events;
CREATE FUNCTION note_new_notifications() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO status_notes (kind, after_type, after_status, ended)
    SELECT 'notification_events', type, status, CASE WHEN status IN ('sent', 'dead') THEN coalesce(sent_at, now()) END
    FROM come;
    RETURN NULL;
END;
$$;
CREATE TRIGGER notification_events_added_noted AFTER INSERT ON notification_events
    REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION note_new_notifications();
CREATE TRIGGER notification_events_removed_noted AFTER DELETE ON notification_events
    FOR EACH ROW EXECUTE FUNCTION note_notification();

-- Names and targets of new certificates.
DROP TRIGGER managed_certificates_names ON managed_certificates;
CREATE FUNCTION keep_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO certificate_names (certificate_id, names) SELECT id, name || E'\n' || common_name FROM come
    ON CONFLICT (certificate_id) DO UPDATE SET names = excluded.names;
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_names_added AFTER INSERT ON managed_certificates
    REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION keep_names();
CREATE TRIGGER managed_certificates_names_removed AFTER DELETE ON managed_certificates
    FOR EACH ROW EXECUTE FUNCTION follow_names();

DROP TRIGGER managed_certificates_targets_of_new ON managed_certificates;
CREATE FUNCTION keep_target_ids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO certificate_target_mappings (certificate_id, target_id)
    SELECT c.id, target_id FROM come AS c, unnest(c.target_ids) AS target_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END;
$$;
CREATE TRIGGER managed_certificates_targets_of_new AFTER INSERT ON managed_certificates
    REFERENCING NEW TABLE AS come FOR EACH STATEMENT EXECUTE FUNCTION keep_target_ids();

-- --- indexes of lists -------------------------------------------------------------------------------------------------

-- The chart of what expires when is kept; nothing else looks for these by their end.
DROP INDEX managed_certificates_renewing_idx;

-- What is part of the key is compared within the index; what is merely stored beside it has to be brought out first,
-- which takes five times as long for each row that a list passes by. Times come first, because they are found at once
-- where they are, and what is behind a text only by reading the text. Each entry is one of its kind, so there is nothing
-- to be gained by looking for entries that are alike.
DROP INDEX managed_certificates_created_idx, managed_certificates_updated_idx, managed_certificates_expires_idx,
    managed_certificates_name_idx, managed_certificates_common_name_idx, managed_certificates_environment_idx,
    managed_certificates_status_idx;
CREATE INDEX managed_certificates_created_idx ON managed_certificates (
    created_at, id, updated_at, expires_at, status, environment, owner_id, team_id, issuer_id, certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_updated_idx ON managed_certificates (
    updated_at, id, created_at, expires_at, status, environment, owner_id, team_id, issuer_id, certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_expires_idx ON managed_certificates (
    (coalesce(expires_at, timestamptz 'infinity')), id, created_at, updated_at, expires_at, status, environment,
    owner_id, team_id, issuer_id, certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_name_idx ON managed_certificates (
    name, id, created_at, updated_at, expires_at, status, environment, owner_id, team_id, issuer_id,
    certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_common_name_idx ON managed_certificates (
    common_name, id, created_at, updated_at, expires_at, status, environment, owner_id, team_id, issuer_id,
    certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_environment_idx ON managed_certificates (
    environment, id, created_at, updated_at, expires_at, status, owner_id, team_id, issuer_id, certificate_profile_id
) WITH (deduplicate_items = off);
CREATE INDEX managed_certificates_status_idx ON managed_certificates (
    status, id, created_at, updated_at, expires_at, environment, owner_id, team_id, issuer_id, certificate_profile_id
) WITH (deduplicate_items = off);
