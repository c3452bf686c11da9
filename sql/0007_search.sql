-- Searching names by a part of them is fast where the server has pg_trgm, and works without it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        RETURN;
    END IF;
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX managed_certificates_name_trgm_idx ON managed_certificates USING gin (name gin_trgm_ops);
    CREATE INDEX managed_certificates_common_name_trgm_idx ON managed_certificates USING gin (common_name gin_trgm_ops);
EXCEPTION
    -- The role may not create extensions, or the extension lives in a schema that is not searched.
    WHEN insufficient_privilege OR undefined_object OR feature_not_supported THEN
        RAISE NOTICE 'pg_trgm is not used: %', SQLERRM;
END;
$$;
