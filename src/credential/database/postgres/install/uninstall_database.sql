BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
DO $hallpass$
DECLARE
  owner record;
  part record;
  lend boolean;
BEGIN
  FOR part IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = to_regnamespace('hallpass')
      AND p.proowner IN (to_regrole('hallpass_definer'), to_regrole('hallpass_janitor')) LOOP
    EXECUTE format('DROP ROUTINE %s', part.oid::regprocedure);
  END LOOP;
  DROP TABLE IF EXISTS hallpass.used;
  -- Whatever else is in it is not this file's to drop.
  DROP SCHEMA IF EXISTS hallpass;
  -- What was granted to our roles here, with the power of whoever granted it.
  FOR owner IN
    SELECT DISTINCT pg_get_userbyid(g.grantor)::text AS name FROM (
      SELECT a.grantor, a.grantee FROM pg_namespace n, aclexplode(n.nspacl) a
      UNION ALL SELECT a.grantor, a.grantee FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()) g
    WHERE g.grantee IN (SELECT oid FROM pg_roles WHERE rolname IN ({{own_roles}})) AND NOT g.grantor = g.grantee
  LOOP
    lend := NOT pg_has_role(owner.name, 'USAGE') AND NOT EXISTS (SELECT FROM pg_auth_members m
      WHERE m.roleid = owner.name::regrole AND m.member = current_user::regrole{{lent_by_installer}});
    BEGIN
      IF lend THEN
        EXECUTE format('GRANT %I TO CURRENT_USER{{lend_options}}', owner.name);
      END IF;
      FOR part IN
        SELECT format('REVOKE ALL ON SCHEMA %I FROM %I GRANTED BY %I', n.nspname, pg_get_userbyid(a.grantee), owner.name) AS statement
          FROM pg_namespace n, aclexplode(n.nspacl) a
          WHERE pg_get_userbyid(a.grantor) = owner.name AND pg_get_userbyid(a.grantee) IN ({{own_roles}})
        UNION SELECT format('REVOKE ALL ON DATABASE %I FROM %I GRANTED BY %I', d.datname, pg_get_userbyid(a.grantee), owner.name)
          FROM pg_database d, aclexplode(d.datacl) a
          WHERE d.datname = current_database() AND pg_get_userbyid(a.grantor) = owner.name AND pg_get_userbyid(a.grantee) IN ({{own_roles}})
      LOOP
        EXECUTE format('SET LOCAL ROLE %I', owner.name);
        EXECUTE part.statement;
        RESET ROLE;
      END LOOP;
      IF lend THEN
        EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', owner.name);
      END IF;
    EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation OR feature_not_supported THEN
      RAISE NOTICE 'role % may not take back what % granted to roles of hallpass in database %', current_user, owner.name, current_database();
    END;
  END LOOP;
  FOR part IN SELECT rolname FROM pg_roles WHERE rolname IN ({{own_roles}}) LOOP
    EXECUTE format('DROP OWNED BY %I', part.rolname);
  END LOOP;
END
$hallpass$;
COMMIT;
