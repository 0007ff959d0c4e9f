-- 3. What the cleaner's login may call in a database of leases -----------------------------------------

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
GRANT CONNECT ON DATABASE {{database}} TO hallpass_connect, hallpass_clean;
{{schema}}
GRANT USAGE ON SCHEMA hallpass TO hallpass_clean;
SET LOCAL ROLE hallpass_definer;
GRANT USAGE, CREATE ON SCHEMA hallpass TO hallpass_janitor;
SET LOCAL ROLE hallpass_janitor;

-- Event triggers that a clean-up would fire, and run with the power that is lent meanwhile; but for those that the
-- target's settings name.
CREATE FUNCTION hallpass.event_triggers() RETURNS TABLE (name text)
LANGUAGE sql STABLE {{settings}}
AS $$
{{event_triggers}}$$;

-- Takes the teeth from what an ended login left here: its code runs with nobody's power, then goes together with
-- the triggers that call it. Needs the login lent, and nothing else.
CREATE FUNCTION hallpass.disarm(p_login text)
RETURNS TABLE (more boolean, done int, problems text[])
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{disarm}}$$;

-- Makes what else it left usable by its owner only, unless the owner will be its group. Needs the login lent.
CREATE FUNCTION hallpass.fence(p_login text)
RETURNS TABLE (more boolean, done int, problems text[])
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{fence}}$$;

-- Gives what the login owns here to its heir: its group if it acted as the group, which could have made the same,
-- else the quarantine. Needs login and heir lent.
CREATE FUNCTION hallpass.hand_over(p_login text, p_after_class oid, p_after_object oid)
RETURNS TABLE (more boolean, last_class oid, last_object oid, done int, problems text[])
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{hand_over}}$$;

-- Takes back what was granted to the login here. Needs the login lent, and for grants that a group gave the group.
CREATE FUNCTION hallpass.drop_grants(p_login text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{drop_grants}}$$;

REVOKE ALL ON FUNCTION {{database_functions}} FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {{database_functions}} TO hallpass_clean;
RESET ROLE;
SET LOCAL ROLE hallpass_definer;
-- Code that ran as the janitor could otherwise put functions of its own here.
REVOKE CREATE ON SCHEMA hallpass FROM hallpass_janitor;
RESET ROLE;

-- The janitor finds an object by its name, so it needs USAGE wherever a job may name something, and the quarantine
-- CREATE where a job may create. Where the installer cannot grant it, the statement to run is printed, and
-- `hallpass target check` reports the schema.
DO $hallpass$
DECLARE
  wanted text;
BEGIN
  FOR wanted IN
    SELECT DISTINCT CASE WHEN may = 'USAGE' THEN format('GRANT USAGE ON SCHEMA %I TO hallpass_janitor', n.nspname)
                         ELSE format('GRANT USAGE, CREATE ON SCHEMA %I TO hallpass_quarantine', n.nspname) END
    FROM pg_namespace n CROSS JOIN unnest(ARRAY[{{leaving_groups}}]::text[]) AS g (name) CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS p (may)
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'hallpass')
      AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = g.name)
      AND has_schema_privilege(g.name, n.oid, may)
      AND NOT has_schema_privilege(CASE may WHEN 'USAGE' THEN 'hallpass_janitor' ELSE 'hallpass_quarantine' END, n.oid, may)
    ORDER BY 1
  LOOP
    BEGIN
      EXECUTE wanted;
    EXCEPTION WHEN insufficient_privilege THEN
      RAISE NOTICE 'to be run by the owner of the schema: %;', wanted;
    END;
  END LOOP;
END
$hallpass$;
COMMIT;
