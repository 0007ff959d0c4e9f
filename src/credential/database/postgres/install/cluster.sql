-- 1. Roles: once for the whole server ---------------------------------------------------------------

-- The file fits one major version: grants work differently from 16 on, and so do the functions below.
DO $hallpass$
BEGIN
  IF current_setting('server_version_num')::int / 10000 <> {{version}} THEN
    RAISE EXCEPTION 'this file is for PostgreSQL {{version}}, the server is %', current_setting('server_version')
      USING HINT = 'Print it again: hallpass target install NAME --server-version N';
  END IF;
END
$hallpass$;

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;

-- What the file needs, before anything changes.
DO $hallpass$
DECLARE
  is_superuser boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
  missing text;
BEGIN
  SELECT string_agg(format('CREATE ROLE %I NOLOGIN', g.name), '; ') INTO missing
    FROM unnest(ARRAY[{{target_groups}}]::text[]) AS g (name) WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = g.name);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'groups that the policies name do not exist' USING HINT = missing || '; then run this file again.';
  END IF;
  IF is_superuser THEN
    RETURN;
  END IF;
  IF NOT (SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'role % can neither create roles nor is it a superuser', current_user
      USING HINT = 'Run the file as an administrator: on a managed server the one that the provider gave you.';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_database WHERE datname = {{control_text}}) AND NOT (SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'role % cannot create database {{control_database}}', current_user
      USING HINT = 'ALTER ROLE … CREATEDB, or name an existing database under `control_database` of the target.';
  END IF;
  -- Up to version 15 whoever may create roles may grant every role that is no superuser.
  SELECT string_agg(format('GRANT %I TO %I WITH ADMIN OPTION', r.rolname, current_user), '; ') INTO missing
    FROM pg_roles r WHERE (r.rolname::text = ANY (ARRAY[{{target_groups}}]::text[]) OR r.rolname IN ({{own_roles}}))
      AND NOT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') AND current_setting('server_version_num')::int >= 160000;
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'role % may not grant every role of this file', current_user
      USING HINT = 'Run the file as the role that made them, or for groups have a role with ADMIN OPTION run: ' || missing || '.';
  END IF;
  SELECT string_agg(format('GRANT CONNECT ON DATABASE %I TO %I', d.datname, current_user), '; ') INTO missing
    FROM pg_database d WHERE d.datname::text IN ({{databases}}) AND NOT has_database_privilege(d.oid, 'CONNECT');
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'role % cannot enter every database of this file', current_user USING HINT = 'Have their owners run: ' || missing || '.';
  END IF;
  -- A file that stopped half-way left its installer what it lent him.
  FOR missing IN SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
      WHERE r.rolname IN ({{own_roles}}) AND m.member = current_user::regrole AND m.grantor = current_user::regrole LOOP
    EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', missing);
  END LOOP;
END
$hallpass$;

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
  -- Whoever made a role may still have a session with its power, and may have given himself a way back to it.
  SELECT string_agg(rolname::text, ', ' ORDER BY rolname) INTO odd FROM pg_roles
    WHERE rolname IN ({{own_roles}}) AND NOT EXISTS (SELECT FROM pg_database WHERE datname = {{control_text}});
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'roles % exist, and database {{control_database}} does not', odd
      USING HINT = 'Find out who made them and why. What is left of an earlier installation goes with the file of `hallpass target uninstall`; otherwise: DROP ROLE ' || odd || '.';
  END IF;
  SELECT string_agg(format('%s is a member of %s', pg_get_userbyid(m.member), pg_get_userbyid(m.roleid)), ', ') INTO odd
    FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
    WHERE r.rolname IN ({{own_roles}})
      AND NOT (r.rolname = 'hallpass_connect' AND pg_get_userbyid(m.member)::text ~ '{{pattern}}')
      AND NOT (r.rolname IN ('hallpass_connect', 'hallpass_quarantine') AND pg_get_userbyid(m.member) = 'hallpass_definer')
      AND NOT (r.rolname = 'hallpass_quarantine' AND pg_get_userbyid(m.member) = 'hallpass_janitor'){{rotating_membership}}{{installer_membership}};
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
-- hallpass_2          the broker's second login, with the same rights. Each can give the other a new password, so that
--                     `hallpass target rotate-login` interrupts nothing. Until then no login as it is possible.
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
      ('hallpass_2', true, false, {{broker_connections}}),
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
    GRANT hallpass_definer, hallpass_janitor TO CURRENT_USER{{lend_options}};
  END IF;
END
$hallpass$;

-- To end the sessions of leased logins. Without it they are ended through the lease itself; sessions on standbys
-- and of logins that are gone are then left alone, and `hallpass target check` says so.
DO $hallpass$
BEGIN
  GRANT pg_signal_backend TO hallpass_definer{{signal_options}};
EXCEPTION WHEN insufficient_privilege THEN
  RAISE NOTICE 'role % cannot grant pg_signal_backend: sessions on standbys are not ended', current_user;
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
