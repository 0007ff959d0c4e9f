-- The roles, last: this fails as long as one of them is named in a database that the target does not list.
BEGIN;
DO $hallpass$
DECLARE
  own text;
BEGIN
  FOR own IN SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname IN ({{own_roles}}) ORDER BY rolname = 'hallpass_definer' LOOP
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', own);
    END IF;
  END LOOP;
  FOR own IN SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname IN ({{own_roles}}) ORDER BY rolname <> 'hallpass_definer' LOOP
    EXECUTE format('DROP ROLE %I', own);
  END LOOP;
END
$hallpass$;
COMMIT;
