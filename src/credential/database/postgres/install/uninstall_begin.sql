-- 1. Nothing may be in use ------------------------------------------------------------------------

DO $hallpass$
BEGIN
  IF current_setting('server_version_num')::int / 10000 <> {{version}} THEN
    RAISE EXCEPTION 'this file is for PostgreSQL {{version}}, the server is %', current_setting('server_version')
      USING HINT = 'Print it again: hallpass target uninstall NAME --server-version N';
  END IF;
END
$hallpass$;
DO $hallpass$
DECLARE
  found text;
BEGIN
  SELECT string_agg(rolname::text, ', ' ORDER BY rolname) INTO found FROM pg_catalog.pg_roles WHERE rolname::text ~ '{{pattern}}';
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'there are leases: %', found USING HINT = 'End them: hallpass leases revoke, then hallpass leases sweep.';
  END IF;
  SELECT string_agg(format('%s in database %s', s.objects, coalesce(d.datname::text, '(server)')), ', ') INTO found
    FROM (SELECT dbid, count(*) AS objects FROM pg_catalog.pg_shdepend
          WHERE refclassid = 'pg_authid'::regclass AND refobjid = to_regrole('hallpass_quarantine') AND deptype = 'o' GROUP BY 1) s
    LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid;
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'hallpass_quarantine owns objects: %', found USING HINT = 'Drop them, or give them an owner: REASSIGN OWNED BY hallpass_quarantine TO …, in each database.';
  END IF;
  SELECT string_agg(DISTINCT usename::text, ', ') INTO found FROM pg_catalog.pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_2', 'hallpass_clean');
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'there are sessions of %', found USING HINT = 'Take the target out of the settings of every broker, or stop the brokers.';
  END IF;
END
$hallpass$;

-- Who is no superuser needs the power of the roles to take away what they were granted.
DO $hallpass$
DECLARE
  own text;
BEGIN
  FOR own IN SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname IN ({{own_roles}})
      AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) LOOP
    EXECUTE format('GRANT %I TO CURRENT_USER{{lend_options}}', own);
  END LOOP;
END
$hallpass$;
