-- Whoever made one of our logins before the first installation could know its password, and whoever still has a session
-- as one of our roles would get its power.
DO $hallpass$
DECLARE
  login text;
BEGIN
  FOR login IN SELECT rolname::text FROM pg_catalog.pg_roles WHERE (rolname IN ('hallpass', 'hallpass_clean') AND to_regnamespace('hallpass') IS NULL)
      OR (rolname = 'hallpass_2' AND to_regprocedure('hallpass.set_password(text, boolean)') IS NULL) LOOP
    EXECUTE format('ALTER ROLE %I PASSWORD NULL', login);
  END LOOP;
END
$hallpass$;
DO $hallpass$
DECLARE
  odd text;
BEGIN
  SELECT string_agg(DISTINCT r.rolname::text, ', ') INTO odd
    FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
    WHERE (r.rolname IN ({{own_roles}}) AND to_regnamespace('hallpass') IS NULL)
      OR (r.rolname = 'hallpass_2' AND to_regprocedure('hallpass.set_password(text, boolean)') IS NULL);
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'there are sessions of % before the first installation', odd
      USING HINT = 'Find out whose they are, or stop the broker, then run this file again.';
  END IF;
END
$hallpass$;

