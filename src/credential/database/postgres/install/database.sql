BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
GRANT CONNECT ON DATABASE {{database}} TO hallpass_connect, hallpass_clean;
{{schema}}
GRANT USAGE ON SCHEMA hallpass TO hallpass_clean;
SET LOCAL ROLE hallpass_definer;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The groups whose logins act as the group, and all groups of this target.
CREATE OR REPLACE FUNCTION hallpass.owning_groups() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT ARRAY[{{owning_groups}}]::text[] $$;

CREATE OR REPLACE FUNCTION hallpass.target_groups() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT ARRAY[{{target_groups}}]::text[] $$;

-- Takes away from an ended login what it owns here and what was granted to it. What it owned goes to its group
-- if it acted as the group: the group could have made the same. Otherwise to `hallpass_quarantine`, and code
-- that is left there loses its teeth. Who inherits is worked out here; a caller has no say in it.
CREATE OR REPLACE FUNCTION hallpass.clean_here(p_login text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{clean_body}}$$;

{{tidy}}
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hallpass FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hallpass.clean_here(text) TO hallpass_clean;
RESET ROLE;
COMMIT;
