-- 1. Roles: once for the whole server ---------------------------------------------------------------

-- The file fits one major version: grants work differently from 16 on, and so do the functions below.
DO $hallpass$
BEGIN
  IF current_setting('server_version_num')::int / 10000 <> {{version}} THEN
    RAISE EXCEPTION 'this file is for PostgreSQL {{version}}, the server is %', current_setting('server_version')
      USING HINT = 'Make it again: hallpass target install-sql NAME --server-version N';
  END IF;
  IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'role % is no superuser; the roles below have to be made by one', current_user;
  END IF;
END
$hallpass$;

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

DO $hallpass$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['hallpass_definer', 'hallpass', 'hallpass_clean', 'hallpass_connect', 'hallpass_quarantine'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
END
$hallpass$;

-- Owns the functions. Nobody can log in as it: CREATEROLE never leaves the server.
ALTER ROLE hallpass_definer NOLOGIN {{definer_inherit}} NOSUPERUSER NOCREATEDB CREATEROLE NOREPLICATION NOBYPASSRLS;
-- The broker's login. It has no attribute and no membership; all it can do is call functions of section 2.
ALTER ROLE hallpass LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {{broker_connections}};
-- The cleaner's login. All it can do is call `clean_here` of section 3. It is a login of its own because it
-- enters databases that jobs write to: what waits for it there must not meet a login that can make users.
ALTER ROLE hallpass_clean LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {{cleaner_connections}};
-- Every leased login is a member: CONNECT is granted to it, and pg_hba.conf can name it (`+hallpass_connect`).
ALTER ROLE hallpass_connect NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Inherits what a job left behind that its group does not own. It has no rights, and nobody is a member, so
-- that code left there runs with nobody's power.
ALTER ROLE hallpass_quarantine NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- To end the sessions of leased logins.
GRANT pg_signal_backend TO hallpass_definer{{signal_options}};
{{admin_grants}}COMMIT;

-- Set the passwords now, so that they stand in no file and no log. In psql:
--   \password hallpass
--   \password hallpass_clean

-- The database that holds the broker's functions and locks. Leased logins cannot enter it.
