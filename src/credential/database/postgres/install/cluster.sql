-- 1. Roles: once for the whole server ---------------------------------------------------------------

-- The file fits one major version: grants work differently from 16 on, and so do the functions below.
DO $hallpass$
BEGIN
  IF current_setting('server_version_num')::int / 10000 <> {{version}} THEN
    RAISE EXCEPTION 'this file is for PostgreSQL {{version}}, the server is %', current_setting('server_version')
      USING HINT = 'Print it again: hallpass target install NAME --server-version N';
  END IF;
  IF NOT (SELECT rolsuper OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'role % can neither create roles nor is it a superuser', current_user
      USING HINT = 'Run the file as an administrator: on a managed server the one that the provider gave you.';
  END IF;
END
$hallpass$;

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- Nobody else may have a hold on these names: whoever made one of the roles first, or the control database, could
-- use them after the installation.
DO $hallpass$
DECLARE
  owner text;
  odd text;
BEGIN
  SELECT r.rolname::text INTO owner FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
    WHERE d.datname = {{control_text}} AND NOT r.rolsuper AND r.rolname <> current_user;
  IF FOUND THEN
    RAISE EXCEPTION 'database {{control_database}} belongs to %', owner
      USING HINT = 'If that role installed hallpass, run the file as it. Otherwise find out who made the database and why, and drop it.';
  END IF;
  SELECT string_agg(format('%s is a member of %s', pg_get_userbyid(m.member), pg_get_userbyid(m.roleid)), ', ') INTO odd
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE r.rolname IN ({{own_roles}})
      AND NOT (r.rolname = 'hallpass_connect' AND pg_get_userbyid(m.member)::text ~ '{{pattern}}')
      AND NOT (r.rolname IN ('hallpass_connect', 'hallpass_quarantine') AND pg_get_userbyid(m.member) = 'hallpass_definer')
      AND NOT (r.rolname = 'hallpass_quarantine' AND pg_get_userbyid(m.member) = 'hallpass_janitor'){{installer_membership}};
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'roles of hallpass have members that this file did not give them: %', odd
      USING HINT = 'Find out who granted it and why; revoke it, or drop the role, then run this file again.';
  END IF;
END
$hallpass$;

DO $hallpass$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY[{{own_roles}}] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
END
$hallpass$;

-- hallpass_definer    owns the functions of section 2. Nobody can log in as it: CREATEROLE never leaves the server.
-- hallpass            the broker's login. No attribute, no membership: it can call functions of section 2.
-- hallpass_clean      the cleaner's login. It can call functions of section 3. It is a login of its own because it
--                     enters databases that jobs write to: what waits there must not meet a login that makes users.
-- hallpass_janitor    owns the functions of section 3. No attribute, no standing membership: an ended lease, its
--                     heir or one group is lent to it for one step of a clean-up, and taken back.
-- hallpass_connect    every leased login is a member: CONNECT is granted to it, and pg_hba.conf can name it.
-- hallpass_quarantine owns what jobs left behind that their group does not own. No rights, no members.
DO $hallpass$
DECLARE
  wanted record;
  there pg_roles;
  setting record;
BEGIN
  FOR wanted IN SELECT * FROM (VALUES
      ('hallpass_definer', false, true, -1),
      ('hallpass', true, false, {{broker_connections}}),
      ('hallpass_clean', true, false, {{cleaner_connections}}),
      ('hallpass_janitor', false, false, -1),
      ('hallpass_connect', false, false, -1),
      ('hallpass_quarantine', false, false, -1)) AS w (name, logs_in, creates_roles, most) LOOP
    SELECT * INTO there FROM pg_roles WHERE rolname = wanted.name;
    -- Naming an attribute at all can take a superuser, so only what is wrong is changed.
    IF there.rolsuper OR there.rolreplication OR there.rolbypassrls OR there.rolcreatedb OR (there.rolcreaterole AND NOT wanted.creates_roles) THEN
      RAISE EXCEPTION 'role % has attributes that it must not have', wanted.name
        USING HINT = format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS NOCREATEDB NOCREATEROLE, then run this file again.', wanted.name);
    END IF;
    IF NOT there.rolinherit THEN
      EXECUTE format('ALTER ROLE %I INHERIT', wanted.name);
    END IF;
    IF there.rolcanlogin <> wanted.logs_in THEN
      EXECUTE format('ALTER ROLE %I %s', wanted.name, CASE WHEN wanted.logs_in THEN 'LOGIN' ELSE 'NOLOGIN' END);
    END IF;
    IF wanted.creates_roles AND NOT there.rolcreaterole THEN
      EXECUTE format('ALTER ROLE %I CREATEROLE', wanted.name);
    END IF;
    IF there.rolconnlimit <> wanted.most THEN
      EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', wanted.name, wanted.most);
    END IF;
    -- What a session of it begins with is not for somebody else to say. `session_replication_role` is a superuser's
    -- own choice: with it no trigger of a job ever fires for the cleaner.
    FOR setting IN SELECT d.datname FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase
        WHERE s.setrole = there.oid AND s.setconfig <> ARRAY['session_replication_role=replica'] LOOP
      EXECUTE format('ALTER ROLE %I %s RESET ALL', wanted.name, CASE WHEN setting.datname IS NULL THEN '' ELSE format('IN DATABASE %I', setting.datname) END);
    END LOOP;
  END LOOP;
END
$hallpass$;

-- An installer who is no superuser needs the power of both owners of functions while he runs this file. It is
-- taken back at the end.
DO $hallpass$
BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    GRANT hallpass_definer, hallpass_janitor TO CURRENT_USER{{installer_options}};
  END IF;
END
$hallpass$;

-- To end the sessions of leased logins. Without it they are ended through the lease itself; sessions on standbys
-- and of logins that are gone are then left alone, and `hallpass target check` says so.
DO $hallpass$
BEGIN
  GRANT pg_signal_backend TO hallpass_definer{{signal_options}};
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'role % cannot grant pg_signal_backend', current_user;
END
$hallpass$;
-- Amazon RDS with rds.restrict_password_commands lets only members of this role set passwords.
DO $hallpass$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_password') THEN
    GRANT rds_password TO hallpass_definer;
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'role % cannot grant rds_password', current_user;
END
$hallpass$;
{{admin_grants}}COMMIT;

-- Set the passwords now, so that they are in no file and no log. In psql:
--   \password hallpass
--   \password hallpass_clean

-- The control database holds the broker's functions and locks. Leased logins cannot enter it.
