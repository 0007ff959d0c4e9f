-- 3. What the cleaner's login may call in a database of leases -----------------------------------------

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- An installer who is no superuser needs the power of the owner of the database. Where he may grant that role, he
-- lends it to himself for this transaction.
DO $hallpass$
DECLARE
  owner text := (SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database());
BEGIN
  PERFORM set_config('hallpass.lent', '', true);
  IF NOT pg_has_role(owner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_auth_members m
      WHERE m.roleid = owner::regrole AND m.member = current_user::regrole{{lent_by_installer}}) THEN
    BEGIN
      EXECUTE format('GRANT %I TO CURRENT_USER{{lend_options}}', owner);
      PERFORM set_config('hallpass.lent', owner, true);
    EXCEPTION WHEN OTHERS THEN
      RAISE NOTICE 'role % cannot act as %, the owner of this database: %', current_user, owner, SQLERRM;
    END;
  END IF;
  IF pg_has_role(owner, 'USAGE') THEN
    GRANT CONNECT ON DATABASE {{database}} TO hallpass_connect, hallpass_clean;
  END IF;
  IF NOT has_database_privilege(current_database(), 'CREATE') OR (SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a
       WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' AND a.grantee IN ('hallpass_connect'::regrole, 'hallpass_clean'::regrole)) < 2 THEN
    RAISE EXCEPTION 'role % may not set up database %', current_user, current_database()
      USING HINT = format('Have its owner %s run: GRANT CREATE ON DATABASE %I TO %I; GRANT CONNECT ON DATABASE %2$I TO hallpass_connect, hallpass_clean. Then run this file again.', owner, current_database(), current_user);
  END IF;
END
$hallpass$;
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

-- Takes the power from code that an ended login left here: it runs with nobody's power, and nobody may call it.
-- Needs the login lent, and nothing else.
CREATE FUNCTION hallpass.disarm(p_login text, p_after oid)
RETURNS TABLE (more boolean, last oid, done int, problems text[])
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{disarm}}$$;

-- Drops that code with the triggers that call it, and foreign keys to tables of others. Needs the login lent.
CREATE FUNCTION hallpass.drop_code(p_login text, p_after oid)
RETURNS TABLE (more boolean, last oid, done int, problems text[])
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
{{drop_code}}$$;

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
  wanted record;
  lend boolean;
BEGIN
  FOR wanted IN
    SELECT DISTINCT pg_get_userbyid(n.nspowner)::text AS owner, CASE WHEN may = 'USAGE' THEN format('GRANT USAGE ON SCHEMA %I TO hallpass_janitor', n.nspname)
                         ELSE format('GRANT USAGE, CREATE ON SCHEMA %I TO hallpass_quarantine', n.nspname) END AS statement
    FROM pg_namespace n CROSS JOIN unnest(ARRAY[{{leaving_groups}}]::text[]) AS g (name) CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS p (may)
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'hallpass')
      AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = g.name)
      -- A login with CREATE alone can move code into a schema.
      AND (has_schema_privilege(g.name, n.oid, may) OR has_schema_privilege(g.name, n.oid, 'CREATE'))
      AND NOT has_schema_privilege(CASE may WHEN 'USAGE' THEN 'hallpass_janitor' ELSE 'hallpass_quarantine' END, n.oid, may)
    ORDER BY 1, 2
  LOOP
    BEGIN
      -- Without the power of the schema's owner it would be a warning, and nothing granted.
      lend := NOT pg_has_role(wanted.owner, 'USAGE');
      IF lend AND EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = wanted.owner::regrole AND m.member = current_user::regrole{{lent_by_installer}}) THEN
        RAISE insufficient_privilege;
      END IF;
      IF lend THEN
        EXECUTE format('GRANT %I TO CURRENT_USER{{lend_options}}', wanted.owner);
      END IF;
      EXECUTE wanted.statement;
      IF lend THEN
        EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', wanted.owner);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation OR feature_not_supported THEN
      RAISE NOTICE 'to be run by % or a superuser: %;', wanted.owner, wanted.statement;
    END;
  END LOOP;
  IF current_setting('hallpass.lent') <> '' THEN
    EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', current_setting('hallpass.lent'));
  END IF;
END
$hallpass$;
COMMIT;
