-- 2. What the broker's login may call: database `hallpass` ---------------------------------------------

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
REVOKE ALL ON DATABASE {{control_database}} FROM PUBLIC;
GRANT CONNECT ON DATABASE {{control_database}} TO hallpass;
{{schema}}
GRANT USAGE ON SCHEMA hallpass TO hallpass;
SET LOCAL ROLE hallpass_definer;
-- Otherwise everybody could call a new function.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The ceilings: nobody who holds the broker's password can go beyond them. To change one, make this file
-- again and run it.
CREATE OR REPLACE FUNCTION hallpass.ceilings()
RETURNS TABLE (group_name text, longest_life int, most_connections int, may_act_as_group boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM (VALUES
{{ceilings}}
  ) AS ceilings
$$;

-- Names begin with the second in which they end, in base32hex, so that they sort by time.
CREATE OR REPLACE FUNCTION hallpass.name_front(seconds bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{{prefix}}' || string_agg(substr('0123456789abcdefghijklmnopqrstuv', ((seconds >> (5 * (7 - digit))) & 31)::int + 1, 1), '' ORDER BY digit)
  FROM generate_series(1, 7) AS digit
$$;

CREATE OR REPLACE FUNCTION hallpass.name_end(login text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT sum((strpos('0123456789abcdefghijklmnopqrstuv', substr(login, {{prefix_length}} + digit, 1)) - 1)::bigint << (5 * (7 - digit)))::bigint
  FROM generate_series(1, 7) AS digit
$$;

-- Why a group must not be handed out, or NULL. Walks every membership: a role inside a superuser is one, and
-- a role that may log in could be given a password by a job, which would stay.
CREATE OR REPLACE FUNCTION hallpass.unfit(p_group text) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  WITH RECURSIVE above AS (
    SELECT oid, false AS administers FROM pg_roles WHERE rolname::text = p_group
    UNION
    SELECT m.roleid, m.admin_option FROM above JOIN pg_auth_members m ON m.member = above.oid
  ), judged AS (
    SELECT r.rolname::text AS role_name, CASE
      WHEN r.rolsuper THEN 'is a superuser'
      WHEN r.rolcreaterole THEN 'may create roles'
      WHEN r.rolcreatedb THEN 'may create databases'
      WHEN r.rolreplication THEN 'may replicate'
      WHEN r.rolbypassrls THEN 'is not bound by row security'
      WHEN r.rolcanlogin THEN 'can log in'
      WHEN r.rolname ~ '^pg_' AND r.rolname::text <> ALL (ARRAY[{{allowed_roles}}]::text[]) THEN 'is a predefined role that the target does not allow'
      WHEN r.rolname IN ('hallpass_definer', 'hallpass', 'hallpass_clean', 'hallpass_quarantine') OR starts_with(r.rolname::text, '{{prefix}}') THEN 'is reserved for the broker'
      WHEN above.administers THEN 'may be granted to others by its member'
    END AS problem
    FROM above JOIN pg_roles r ON r.oid = above.oid
  )
  SELECT CASE
    WHEN NOT EXISTS (SELECT FROM judged) THEN format('role %s does not exist', p_group)
    ELSE (SELECT CASE WHEN role_name = p_group THEN format('role %s %s', role_name, problem)
                      ELSE format('role %s is inside role %s, which %s', p_group, role_name, problem) END
          FROM judged WHERE problem IS NOT NULL ORDER BY role_name <> p_group, role_name LIMIT 1)
  END
$$;

-- A look-up by the part of the name that token and credential give, whatever the expiry in front.
CREATE OR REPLACE FUNCTION hallpass.find(p_random text)
RETURNS TABLE (login text, ends bigint, can_login boolean, ended boolean, groups text[], record text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text, hallpass.name_end(r.rolname::text), r.rolcanlogin,
    hallpass.name_end(r.rolname::text) <= extract(epoch FROM clock_timestamp()),
    ARRAY(SELECT pg_get_userbyid(m.roleid)::text FROM pg_auth_members m
          WHERE m.member = r.oid AND pg_get_userbyid(m.roleid) <> 'hallpass_connect' ORDER BY 1),
    coalesce(shobj_description(r.oid, 'pg_authid'), '')
  FROM pg_roles r
  WHERE r.rolname >= '{{prefix}}0' AND r.rolname < '{{prefix}}w'
    AND substr(r.rolname::text, {{prefix_length}} + 9) = p_random AND r.rolname::text ~ '{{pattern}}'
$$;

-- Makes a login that ends by itself, or gives back the one that this token made before. With `p_create` off
-- it only looks.
CREATE OR REPLACE FUNCTION hallpass.mint(p_random text, p_verifier text, p_life int, p_group text, p_act_as_group boolean, p_connections int, p_record text, p_create boolean)
RETURNS TABLE (created boolean, login text, ends bigint, can_login boolean, ended boolean, groups text[], record text)
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  ceiling record;
  problem text;
  name text;
  live_from pg_catalog.name;
  until timestamptz;
  made oid;
BEGIN
  -- Look-ups below must see what others committed while this call waited for the lock.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'mint runs in read committed transactions only' USING ERRCODE = 'HP004';
  END IF;
  IF NOT p_random ~ '^[0-9a-v]{13}$' THEN
    RAISE EXCEPTION 'the random part is not 13 digits' USING ERRCODE = 'HP004';
  END IF;
  -- One login per token and credential, also when two brokers ask at once.
  PERFORM pg_advisory_xact_lock(hashtextextended('hallpass:' || p_random, 0));
  RETURN QUERY SELECT false, f.* FROM hallpass.find(p_random) f;
  IF FOUND OR NOT p_create THEN
    RETURN;
  END IF;

  SELECT * INTO ceiling FROM hallpass.ceilings() c WHERE c.group_name = p_group;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'group % has no ceiling', p_group USING ERRCODE = 'HP003';
  END IF;
  IF NOT (p_life BETWEEN {{shortest_life}} AND ceiling.longest_life) THEN
    RAISE EXCEPTION 'a life of % s is outside {{shortest_life}} to % s', p_life, ceiling.longest_life USING ERRCODE = 'HP003';
  END IF;
  IF NOT (p_connections BETWEEN 1 AND ceiling.most_connections) THEN
    RAISE EXCEPTION 'a connection limit of % is outside 1 to %', p_connections, ceiling.most_connections USING ERRCODE = 'HP003';
  END IF;
  IF p_act_as_group AND NOT ceiling.may_act_as_group THEN
    RAISE EXCEPTION 'logins may not act as group %', p_group USING ERRCODE = 'HP003';
  END IF;
  -- Never a clear password: it would stand in logs. The server hashes as often as the verifier says, so that
  -- count is bounded.
  IF NOT p_verifier ~ '^SCRAM-SHA-256\$[1-9][0-9]{0,4}:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$' THEN
    RAISE EXCEPTION 'the password is not a SCRAM verifier' USING ERRCODE = 'HP004';
  END IF;
  IF NOT (p_record ~ '^\{' AND octet_length(p_record) <= {{record_bytes}}) THEN
    RAISE EXCEPTION 'the record is not JSON of at most {{record_bytes}} bytes' USING ERRCODE = 'HP004';
  END IF;
  problem := hallpass.unfit(p_group);
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'HP001';
  END IF;
  -- A prepared transaction outlives its login, and keeps it from being ended.
  IF current_setting('max_prepared_transactions')::int <> 0 THEN
    RAISE EXCEPTION 'max_prepared_transactions is not 0' USING ERRCODE = 'HP008';
  END IF;
  -- Worked out once: in the condition it would be for every row, and no index could be used.
  live_from := hallpass.name_front(extract(epoch FROM clock_timestamp())::bigint)::pg_catalog.name;
  IF (SELECT count(*) FROM pg_roles r WHERE r.rolname >= live_from AND r.rolname < '{{prefix}}w') >= {{max_live}} THEN
    RAISE EXCEPTION 'there are {{max_live}} live logins already' USING ERRCODE = 'HP002';
  END IF;

  -- The server's clock alone decides, and the end is written so that no setting of the caller reads it otherwise.
  ends := ceil(extract(epoch FROM clock_timestamp()) + p_life)::bigint;
  until := to_timestamp(ends);
  name := hallpass.name_front(ends) || '_' || p_random;
  IF NOT (name ~ '{{pattern}}' AND octet_length(name) <= 63) THEN
    RAISE EXCEPTION '% is no name of a lease', name USING ERRCODE = 'HP005';
  END IF;
  EXECUTE format('CREATE ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %s PASSWORD %L VALID UNTIL %L',
    name, p_connections, p_verifier, to_char(until, 'YYYY-MM-DD HH24:MI:SS') || '+00');
  EXECUTE format('COMMENT ON ROLE %I IS %L', name, p_record);
  EXECUTE format('GRANT hallpass_connect TO %I', name);
  -- Last, because it locks the group until the end of the transaction from 16 on.
{{grant_group}}
  -- What was made is what was meant, whatever the caller's settings were.
  SELECT r.oid INTO made FROM pg_roles r WHERE r.rolname::text = name AND r.rolvaliduntil = until
    AND r.rolconnlimit = p_connections AND r.rolcanlogin AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the login came out otherwise than it was asked for' USING ERRCODE = 'HP008';
  END IF;
  IF ARRAY(SELECT pg_get_userbyid(m.roleid)::text FROM pg_auth_members m WHERE m.member = made ORDER BY 1)
       <> ARRAY(SELECT g FROM unnest(ARRAY['hallpass_connect', p_group]) g ORDER BY 1)
{{check_members}} THEN
    RAISE EXCEPTION 'the login got other memberships than it was asked for' USING ERRCODE = 'HP008';
  END IF;
  created := true;
  login := name;
  can_login := true;
  ended := false;
  groups := ARRAY[p_group];
  record := p_record;
  RETURN NEXT;
END
$$;

-- The ways out of a lease. None of them touches a name that `mint` could not have made.
CREATE OR REPLACE FUNCTION hallpass.lease_oid(p_login text) RETURNS oid
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT p_login ~ '{{pattern}}' THEN
    RAISE EXCEPTION '% is no name of a lease', p_login USING ERRCODE = 'HP005';
  END IF;
  RETURN (SELECT oid FROM pg_roles WHERE rolname = p_login::name);
END
$$;

-- Ending a lease is two calls on two connections at once, again and again until both hold: a login that keeps
-- a lock on itself delays `disable` until `terminate` has ended its sessions, and one that reconnects gets
-- past `terminate` until `disable` has come through.
CREATE OR REPLACE FUNCTION hallpass.disable(p_login text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE oid = hallpass.lease_oid(p_login) AND rolcanlogin) THEN
    EXECUTE format('ALTER ROLE %I NOLOGIN', p_login);
    RETURN true;
  END IF;
  RETURN false;
END
$$;

-- Changes nothing, so that it works on a standby too. The number of sessions there were.
CREATE OR REPLACE FUNCTION hallpass.terminate(p_login text) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  wanted oid := hallpass.lease_oid(p_login);
BEGIN
  PERFORM pg_stat_clear_snapshot();
  RETURN (SELECT count(pg_terminate_backend(a.pid))::int FROM pg_stat_activity a WHERE a.usesysid = wanted);
END
$$;

-- For standbys, which cannot change roles: ends the sessions of all logins that have ended or are disabled.
CREATE OR REPLACE FUNCTION hallpass.terminate_ended() RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
BEGIN
  PERFORM pg_stat_clear_snapshot();
  RETURN (SELECT count(pg_terminate_backend(a.pid))::int FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
          WHERE r.rolname::text ~ '{{pattern}}'
            AND (NOT r.rolcanlogin OR hallpass.name_end(r.rolname::text) <= extract(epoch FROM clock_timestamp())));
END
$$;

-- Sessions whose login is gone. One that did SET ROLE would keep that role's power for as long as it lives.
CREATE OR REPLACE FUNCTION hallpass.ghosts() RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  suspects int[];
BEGIN
  PERFORM pg_stat_clear_snapshot();
  suspects := ARRAY(SELECT a.pid FROM pg_stat_activity a
                    WHERE a.usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid));
  IF suspects = '{}' THEN
    RETURN 0;
  END IF;
  -- Again, with a newer view of the roles: a login made between the two reads of the first look is no ghost.
  PERFORM pg_stat_clear_snapshot();
  RETURN (SELECT count(pg_terminate_backend(a.pid))::int FROM pg_stat_activity a
          WHERE a.pid = ANY (suspects) AND a.usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid));
END
$$;

-- For a login that cannot be dropped yet, because something refers to it where nobody cleans: code it left there
-- must not keep its power.
CREATE OR REPLACE FUNCTION hallpass.strip(p_login text) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  stripped oid := hallpass.lease_oid(p_login);
  membership name;
  taken int := 0;
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE oid = stripped AND rolcanlogin) THEN
    RAISE EXCEPTION '% can still log in', p_login USING ERRCODE = 'HP007';
  END IF;
  FOR membership IN SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = stripped LOOP
    EXECUTE format('REVOKE %I FROM %I', membership, p_login);
    taken := taken + 1;
  END LOOP;
  RETURN taken;
END
$$;

-- The last step. Fails as long as anything in any database refers to the login.
CREATE OR REPLACE FUNCTION hallpass.drop_login(p_login text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  gone oid := hallpass.lease_oid(p_login);
BEGIN
  IF gone IS NULL THEN
    RETURN false;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE oid = gone AND rolcanlogin) THEN
    RAISE EXCEPTION '% can still log in', p_login USING ERRCODE = 'HP007';
  END IF;
  PERFORM pg_stat_clear_snapshot();
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = gone) THEN
    RAISE EXCEPTION '% still has sessions', p_login USING ERRCODE = 'HP006';
  END IF;
  EXECUTE format('DROP ROLE %I', p_login);
  RETURN true;
END
$$;

-- Reading, with the caller's own rights.

-- What refers to a login, by database; NULL stands for what belongs to the whole server.
CREATE OR REPLACE FUNCTION hallpass.deps(p_login text)
RETURNS TABLE (database text, kind text, objects bigint)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT d.datname::text, s.deptype::text, count(*)
  FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
  WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname::text = p_login)
    AND s.classid <> 'pg_auth_members'::regclass
  GROUP BY 1, 2
$$;

-- Logins to sweep: past their end, or disabled by a revocation that did not come to its end. In the order of
-- their names, beginning after one, so that those that cannot be dropped do not stand before the others.
CREATE OR REPLACE FUNCTION hallpass.ended(p_after text, p_limit int) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text FROM pg_roles r
  WHERE r.rolname > greatest(p_after, '{{prefix}}')::name AND r.rolname < '{{prefix}}w' AND r.rolname::text ~ '{{pattern}}'
    AND (r.rolname < (SELECT hallpass.name_front(extract(epoch FROM clock_timestamp())::bigint + 1)::name) OR NOT r.rolcanlogin)
  ORDER BY r.rolname LIMIT p_limit
$$;

-- Every lease there is, for people: SELECT * FROM hallpass.leases();
CREATE OR REPLACE FUNCTION hallpass.leases()
RETURNS TABLE (login text, ends timestamptz, ended boolean, can_login boolean, groups text[], sessions bigint, leftovers text[], record text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text, to_timestamp(hallpass.name_end(r.rolname::text)),
    hallpass.name_end(r.rolname::text) <= extract(epoch FROM clock_timestamp()), r.rolcanlogin,
    ARRAY(SELECT pg_get_userbyid(m.roleid)::text FROM pg_auth_members m
          WHERE m.member = r.oid AND pg_get_userbyid(m.roleid) <> 'hallpass_connect' ORDER BY 1),
    (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid),
    ARRAY(SELECT coalesce(d.database, '(server)') || ': ' || d.objects || ' ' || CASE d.kind WHEN 'o' THEN 'owned' ELSE 'grants' END
          FROM hallpass.deps(r.rolname::text) d ORDER BY 1),
    coalesce(shobj_description(r.oid, 'pg_authid'), '')
  FROM pg_roles r
  WHERE r.rolname >= '{{prefix}}0' AND r.rolname < '{{prefix}}w' AND r.rolname::text ~ '{{pattern}}'
  ORDER BY r.rolname
$$;

-- So that a broker can tell a file it does not know.
CREATE OR REPLACE FUNCTION hallpass.version() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '{{contract}}'::text $$;

{{tidy}}
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hallpass FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hallpass TO hallpass;
RESET ROLE;
COMMIT;
