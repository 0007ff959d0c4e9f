-- 2. What the broker's login may call: database {{control_database}} ---------------------------------------------

BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
REVOKE ALL ON DATABASE {{control_database}} FROM PUBLIC;
GRANT CONNECT ON DATABASE {{control_database}} TO hallpass, hallpass_2;
{{schema}}
GRANT USAGE ON SCHEMA hallpass TO hallpass, hallpass_2;
SET LOCAL ROLE hallpass_definer;
-- Otherwise everybody could call a new function.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- What was made for which token: a token never makes a second login, also after the first one is gone. `holder` is
-- a hash of whom it was for, and empties when the login is dropped. Rows go when their token has expired.
CREATE TABLE IF NOT EXISTS hallpass.used (random text PRIMARY KEY, login text COLLATE "C" NOT NULL, holder text, until bigint NOT NULL);
CREATE INDEX IF NOT EXISTS used_by_holder ON hallpass.used (holder, login);
CREATE INDEX IF NOT EXISTS used_by_until ON hallpass.used (until);

-- The ceilings: nobody who holds the broker's password can go beyond them. To change one, make this file
-- again and run it.
CREATE FUNCTION hallpass.ceilings()
RETURNS TABLE (group_name text, longest_life int, most_connections int, may_act_as_group boolean)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT * FROM (VALUES
{{ceilings}}
  ) AS ceilings
$$;

-- Names begin with the second in which they end, in base32hex, so that they sort by time.
CREATE FUNCTION hallpass.name_front(seconds bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT '{{prefix}}' || string_agg(substr('0123456789abcdefghijklmnopqrstuv', ((seconds >> (5 * (7 - digit))) & 31)::int + 1, 1), '' ORDER BY digit)
  FROM generate_series(1, 7) AS digit
$$;

-- The second at the front of such a name.
CREATE FUNCTION hallpass.name_end(login text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT sum((strpos('0123456789abcdefghijklmnopqrstuv', substr(login, {{prefix_length}} + digit, 1)) - 1)::bigint << (5 * (7 - digit)))::bigint
  FROM generate_series(1, 7) AS digit
$$;

-- Why a group must not be handed out, or NULL. Walks every membership: a role inside a superuser is one, and
-- a role that may log in could be given a password by a job, which would stay.
CREATE FUNCTION hallpass.unfit(p_group text) RETURNS text
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
      WHEN EXISTS (SELECT FROM pg_parameter_acl p, aclexplode(p.paracl) a WHERE a.grantee = r.oid AND a.privilege_type = 'ALTER SYSTEM')
        THEN 'may change the settings of the server'
      WHEN r.rolcanlogin THEN 'can log in'
      WHEN r.rolname ~ '^pg_' AND r.rolname::text <> ALL (ARRAY[{{allowed_roles}}]::text[]) THEN 'is a predefined role that the target does not allow'
      WHEN r.rolname IN ({{own_roles}}) OR starts_with(r.rolname::text, '{{prefix}}') THEN 'is reserved for the broker'
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

-- Who inherits, as `mint` wrote it: a group whose logins may act as it, else the quarantine.
CREATE FUNCTION hallpass.heir(p_lease oid) RETURNS text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce((SELECT c.group_name FROM hallpass.ceilings() c
                   WHERE c.may_act_as_group AND c.group_name = substring(shobj_description(p_lease, 'pg_authid') FROM '^heir=([^\n]*)\n')),
                  'hallpass_quarantine')
$$;

-- A look-up by the part of the name that token and credential give, whatever the expiry in front. A comment begins
-- with the heir, which `mint` wrote; what follows is the broker's record.
CREATE FUNCTION hallpass.find(p_random text)
RETURNS TABLE (login text, ends bigint, can_login boolean, ended boolean, groups text[], acts boolean, record text)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text, hallpass.name_end(r.rolname::text), r.rolcanlogin,
    hallpass.name_end(r.rolname::text) <= extract(epoch FROM clock_timestamp()),
    ARRAY(SELECT DISTINCT pg_get_userbyid(m.roleid)::text FROM pg_auth_members m
          WHERE m.member = r.oid AND pg_get_userbyid(m.roleid) <> 'hallpass_connect' ORDER BY 1),
    {{acts}},
    regexp_replace(coalesce(d.description, ''), '^heir=[^\n]*\n', '')
  FROM pg_roles r LEFT JOIN pg_shdescription d ON d.classoid = 'pg_authid'::regclass AND d.objoid = r.oid
  WHERE r.rolname >= '{{prefix}}0' AND r.rolname < '{{prefix}}w'
    AND substr(r.rolname::text, {{prefix_length}} + 9) = p_random AND r.rolname::text ~ '{{pattern}}'
$$;

-- Makes a login that ends by itself, or gives back the one that this token made before. No row: that one is over,
-- or `p_create` is off and there is none. `p_until` is when the token can no longer be used.
CREATE FUNCTION hallpass.mint(p_random text, p_verifier text, p_life int, p_group text, p_act_as_group boolean, p_connections int, p_record text, p_until bigint, p_holder text, p_create boolean)
RETURNS TABLE (created boolean, login text, ends bigint, can_login boolean, ended boolean, groups text[], acts boolean, record text)
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
  IF NOT p_holder ~ '^[0-9a-f]{32}$' THEN
    RAISE EXCEPTION 'the holder is not a hash of 32 digits' USING ERRCODE = 'HP004';
  END IF;
  -- One login per token and credential, also when two brokers ask at once.
  PERFORM pg_advisory_xact_lock(hashtextextended('hallpass:' || p_random, 0));
  RETURN QUERY SELECT false, f.* FROM hallpass.find(p_random) f;
  IF FOUND OR NOT p_create OR EXISTS (SELECT FROM hallpass.used u WHERE u.random = p_random) THEN
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
  live_from := hallpass.name_front(floor(extract(epoch FROM clock_timestamp()))::bigint)::pg_catalog.name;
  -- Members, not names: a role that somebody else called like a lease takes no place.
  IF (SELECT count(*) FROM pg_auth_members m WHERE m.roleid = 'hallpass_connect'::regrole) >= {{max_live}} THEN
    RAISE EXCEPTION 'there are {{max_live}} live logins already' USING ERRCODE = 'HP002';
  END IF;
  IF (SELECT count(*) FROM hallpass.used u WHERE u.holder = p_holder AND u.login >= live_from::text COLLATE "C") >= {{places_per_repository}} THEN
    RAISE EXCEPTION 'this repository has {{places_per_repository}} live logins already' USING ERRCODE = 'HP010';
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
  EXECUTE format('COMMENT ON ROLE %I IS %L', name, 'heir=' || CASE WHEN p_act_as_group THEN p_group ELSE 'hallpass_quarantine' END || E'\n' || p_record);
  EXECUTE format('GRANT hallpass_connect TO %I{{connect_options}}', name);
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
  INSERT INTO hallpass.used VALUES (p_random, name, p_holder, least(greatest(p_until, ends), ends + {{longest_token}}));
  created := true;
  login := name;
  can_login := true;
  ended := false;
  groups := ARRAY[p_group];
  acts := p_act_as_group;
  record := p_record;
  RETURN NEXT;
END
$$;

-- The ways out of a lease. None of them touches a name that `mint` could not have made.
CREATE FUNCTION hallpass.lease_oid(p_login text) RETURNS oid
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT p_login ~ '{{pattern}}' THEN
    RAISE EXCEPTION '% is no name of a lease', p_login USING ERRCODE = 'HP005';
  END IF;
  RETURN (SELECT oid FROM pg_roles WHERE rolname = p_login::name);
END
$$;

-- Comes first, since it touches no row that the login can lock: nobody begins a session as it any more, and
-- what it runs from now on has its own power only. What somebody else granted it is his to revoke; the number of
-- such memberships.
CREATE FUNCTION hallpass.cut(p_login text) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  lease oid := hallpass.lease_oid(p_login);
  membership text;
BEGIN
  IF EXISTS (SELECT FROM pg_auth_members WHERE member = lease AND roleid = 'hallpass_connect'::regrole) THEN
    EXECUTE format('REVOKE hallpass_connect FROM %I', p_login);
  END IF;
  FOR membership IN SELECT DISTINCT pg_get_userbyid(roleid)::text FROM pg_auth_members
      WHERE member = lease AND roleid <> 'hallpass_connect'::regrole LOOP
    BEGIN
      EXECUTE format('REVOKE %I FROM %I', membership, p_login);
    EXCEPTION WHEN OTHERS THEN
      RAISE WARNING '% keeps its membership in %: %', p_login, membership, SQLERRM;
    END;
  END LOOP;
  RETURN (SELECT count(*)::int FROM pg_auth_members WHERE member = lease);
END
$$;

-- Then two calls on two connections at once, again and again until both hold: a login that keeps a lock on itself
-- delays `disable` until `terminate` has ended its sessions.
CREATE FUNCTION hallpass.disable(p_login text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}} SET lock_timeout = '250ms'
AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE oid = hallpass.lease_oid(p_login) AND rolcanlogin) THEN
    EXECUTE format('ALTER ROLE %I NOLOGIN', p_login);
    RETURN true;
  END IF;
  RETURN false;
END
$$;

-- Changes nothing where the definer may signal sessions, so that it works on a standby too. Where it may not, it
-- does so as a member of the lease. The number of sessions there were.
CREATE FUNCTION hallpass.terminate(p_login text) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  wanted oid := hallpass.lease_oid(p_login);
  pids int[];
  may_signal boolean := pg_has_role('pg_signal_backend', 'USAGE');
BEGIN
  PERFORM pg_stat_clear_snapshot();
  pids := ARRAY(SELECT a.pid FROM pg_stat_activity a WHERE a.usesysid = wanted);
  IF pids = '{}' THEN
    RETURN 0;
  END IF;
  IF NOT may_signal THEN
    EXECUTE format('GRANT %I TO CURRENT_USER{{lend_lease_options}}', p_login);
  END IF;
  PERFORM pg_terminate_backend(pid) FROM unnest(pids) AS p (pid);
  IF NOT may_signal THEN
    EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', p_login);
  END IF;
  RETURN cardinality(pids);
END
$$;

-- For standbys, which cannot change roles and may lag: who has sessions here, and on the primary which of them may not.
CREATE FUNCTION hallpass.lease_sessions() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid WHERE r.rolname::text ~ '{{pattern}}'
$$;

-- Of these names, those that no live login has.
CREATE FUNCTION hallpass.not_live(p_logins text[]) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT l.name FROM unnest(p_logins) AS l (name)
  WHERE NOT EXISTS (SELECT FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid AND m.roleid = 'hallpass_connect'::regrole
                    WHERE r.rolname::text = l.name AND r.rolcanlogin AND hallpass.name_end(l.name) > extract(epoch FROM clock_timestamp()))
$$;

-- Sessions whose login is gone. One that did SET ROLE would keep that role's power for as long as it lives.
CREATE FUNCTION hallpass.ghosts() RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  suspects int[];
BEGIN
  PERFORM pg_stat_clear_snapshot();
  suspects := ARRAY(SELECT a.pid FROM pg_stat_activity a
                    WHERE a.usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid));
  IF suspects = '{}' OR NOT pg_has_role('pg_signal_backend', 'USAGE') THEN
    RETURN 0;
  END IF;
  -- Again, with a newer view of the roles: a login made between the two reads of the first look is no ghost.
  PERFORM pg_stat_clear_snapshot();
  RETURN (SELECT count(pg_terminate_backend(a.pid))::int FROM pg_stat_activity a
          WHERE a.pid = ANY (suspects) AND a.usesysid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid));
END
$$;

-- Clean-up is one lease at a time for the whole server, since what is lent for it is a membership of the whole
-- server. A turn begins by taking back what a broker that died in the middle left lent.
CREATE FUNCTION hallpass.take_turn() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
BEGIN
  PERFORM pg_advisory_lock({{turn}});
  PERFORM hallpass.take_back();
END
$$;

-- Takes back what is lent, and lets the next turn begin.
CREATE FUNCTION hallpass.end_turn() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
BEGIN
  PERFORM hallpass.take_back();
  PERFORM pg_advisory_unlock_all();
END
$$;

-- Ends sessions of leases that hold a lock on code that is being disarmed.
CREATE FUNCTION hallpass.unblock() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
DECLARE
  blocking text;
  ended int := 0;
BEGIN
  PERFORM pg_stat_clear_snapshot();
  FOR blocking IN SELECT DISTINCT r.rolname::text
      FROM pg_stat_activity a CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS b (pid)
        JOIN pg_stat_activity s ON s.pid = b.pid JOIN pg_roles r ON r.oid = s.usesysid
      WHERE a.usename = 'hallpass_clean' AND r.rolname::text ~ '{{pattern}}' LOOP
    ended := ended + hallpass.terminate(blocking);
  END LOOP;
  RETURN ended;
END
$$;

-- For a sweep or a start: takes back what is lent, unless somebody is at it. The roles that were.
CREATE FUNCTION hallpass.recover() RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
DECLARE
  lent text[] := '{}';
BEGIN
  IF EXISTS (SELECT FROM pg_auth_members WHERE member = 'hallpass_janitor'::regrole) AND pg_try_advisory_xact_lock({{turn}}) THEN
    lent := hallpass.take_back();
  END IF;
  RETURN lent;
END
$$;

-- Takes back every role that is lent to the janitor. The roles that were.
CREATE FUNCTION hallpass.take_back() RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  lent text;
  taken text[] := '{}';
BEGIN
  FOR lent IN SELECT DISTINCT pg_get_userbyid(roleid)::text FROM pg_auth_members WHERE member = 'hallpass_janitor'::regrole LOOP
    EXECUTE format('REVOKE %I FROM hallpass_janitor', lent);
    taken := taken || lent;
  END LOOP;
  RETURN taken;
END
$$;

-- Lends the janitor one role for one step: `lease`, `heir`, or one group of the target by its name.
CREATE FUNCTION hallpass.lend(p_login text, p_what text) RETURNS text
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}}
AS $$
DECLARE
  lease oid := hallpass.lease_oid(p_login);
  heir text;
  what text;
  odd text;
BEGIN
  IF lease IS NULL THEN
    RETURN NULL;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND mode = 'ExclusiveLock' AND (classid, objid, objsubid) = ({{turn}}, 2)) THEN
    RAISE EXCEPTION 'lend needs a turn' USING ERRCODE = 'HP004';
  END IF;
  -- What code of the login could do while it is lent is what the login could do, so it must be able to do nothing.
  IF EXISTS (SELECT FROM pg_auth_members m WHERE m.member = lease
             AND (m.roleid = 'hallpass_connect'::regrole OR pg_get_userbyid(m.roleid)::text IN (SELECT group_name FROM hallpass.ceilings()))) THEN
    RAISE EXCEPTION '% has memberships still', p_login USING ERRCODE = 'HP007';
  END IF;
  -- Something else that the janitor owned, or a member of it, would be somebody else's way to run code as it.
  SELECT string_agg(DISTINCT format('%s in %s', s.classid::regclass, coalesce(d.datname::text, 'the server')), ', ') INTO odd
    FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = 'hallpass_janitor'::regrole AND s.deptype = 'o'
      AND NOT (s.classid = 'pg_proc'::regclass AND d.datname::text = ANY (ARRAY[{{databases}}]));
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'hallpass_janitor owns %', odd USING ERRCODE = 'HP008';
  END IF;
  SELECT string_agg(pg_get_userbyid(m.member)::text, ', ') INTO odd FROM pg_auth_members m
    WHERE m.roleid = 'hallpass_janitor'::regrole{{usable_membership}};
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION 'hallpass_janitor has members: %', odd USING ERRCODE = 'HP008';
  END IF;
  heir := hallpass.heir(lease);
  what := CASE p_what WHEN 'lease' THEN p_login WHEN 'heir' THEN heir
          ELSE (SELECT group_name FROM hallpass.ceilings() WHERE group_name = p_what) END;
  IF what IS NULL THEN
    RAISE EXCEPTION '% cannot be lent', p_what USING ERRCODE = 'HP004';
  END IF;
  IF p_what = 'lease' THEN
    EXECUTE format('GRANT %I TO hallpass_janitor{{lend_lease_options}}', what);
  ELSE
    EXECUTE format('GRANT %I TO hallpass_janitor{{lend_options}}', what);
  END IF;
  RETURN what;
END
$$;

-- The last step. Fails as long as anything in any database refers to the login.
CREATE FUNCTION hallpass.drop_login(p_login text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER {{settings}} SET lock_timeout = '500ms'
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
  UPDATE hallpass.used SET holder = NULL WHERE login = p_login AND holder IS NOT NULL;
  RETURN true;
END
$$;

-- Reading, with the caller's own rights.

-- What refers to a login, by database; NULL is what belongs to the whole server. Of what it owns, how much is code.
CREATE FUNCTION hallpass.deps(p_login text)
RETURNS TABLE (database text, kind text, objects bigint, routines bigint)
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT d.datname::text, s.deptype::text, count(*), count(*) FILTER (WHERE s.classid = 'pg_proc'::regclass AND s.deptype = 'o')
  FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
  WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = p_login::name)
    AND s.classid <> 'pg_auth_members'::regclass
  GROUP BY 1, 2
$$;

-- Memberships that are not this file's to revoke, as the statements that do.
CREATE FUNCTION hallpass.foreign_memberships(p_login text) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('REVOKE %I FROM %I', pg_get_userbyid(m.roleid), p_login) || coalesce(format(', granted by %s', nullif(pg_get_userbyid(m.grantor)::text, 'hallpass_definer')), '')
  FROM pg_auth_members m WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = p_login::name)
$$;

-- Logins to sweep: past their end, or cut off or disabled by a revocation that did not come to its end. In the order of
-- their names, beginning after one, so that those that cannot be dropped do not stand before the others.
CREATE FUNCTION hallpass.ended(p_after text, p_limit int) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text FROM pg_roles r
  WHERE r.rolname > greatest(p_after, '{{prefix}}')::name AND r.rolname < '{{prefix}}w' AND r.rolname::text ~ '{{pattern}}'
    AND (r.rolname < (SELECT hallpass.name_front(floor(extract(epoch FROM clock_timestamp()))::bigint + 1)::name) OR NOT r.rolcanlogin
      OR (shobj_description(r.oid, 'pg_authid') ~ '^heir='
          AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = 'hallpass_connect'::regrole)))
  ORDER BY r.rolname LIMIT p_limit
$$;

-- Every lease there is, for people: SELECT * FROM hallpass.leases();
CREATE FUNCTION hallpass.leases()
RETURNS TABLE (login text, ends timestamptz, ended boolean, can_login boolean, may_connect boolean, groups text[], heir text, sessions int[], leftovers text[], routines bigint, record text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.rolname::text, to_timestamp(hallpass.name_end(r.rolname::text)),
    hallpass.name_end(r.rolname::text) <= extract(epoch FROM clock_timestamp()), r.rolcanlogin,
    EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = 'hallpass_connect'::regrole),
    ARRAY(SELECT DISTINCT pg_get_userbyid(m.roleid)::text FROM pg_auth_members m
          WHERE m.member = r.oid AND pg_get_userbyid(m.roleid) <> 'hallpass_connect' ORDER BY 1),
    hallpass.heir(r.oid),
    ARRAY(SELECT a.pid FROM pg_stat_activity a WHERE a.usesysid = r.oid ORDER BY 1),
    ARRAY(SELECT coalesce(d.database, '(server)') || ': ' || d.objects || ' ' || CASE d.kind WHEN 'o' THEN 'owned' ELSE 'grants' END
          FROM hallpass.deps(r.rolname::text) d ORDER BY 1),
    (SELECT coalesce(sum(d.routines), 0)::bigint FROM hallpass.deps(r.rolname::text) d),
    regexp_replace(coalesce(shobj_description(r.oid, 'pg_authid'), ''), '^heir=[^\n]*\n', '')
  FROM pg_roles r
  WHERE r.rolname >= '{{prefix}}0' AND r.rolname < '{{prefix}}w' AND r.rolname::text ~ '{{pattern}}'
  ORDER BY r.rolname
$$;

-- Rights that reach every lease: what hallpass_connect owns, or was given beyond CONNECT.
CREATE FUNCTION hallpass.shared_rights() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%s %s in %s', count(*), CASE s.deptype WHEN 'o' THEN 'objects owned by hallpass_connect' ELSE 'grants to hallpass_connect' END, coalesce(d.datname::text, 'the server'))
  FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
  WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = 'hallpass_connect'::regrole AND s.classid <> 'pg_auth_members'::regclass
    AND NOT (s.classid = 'pg_database'::regclass AND NOT EXISTS (
      SELECT FROM pg_database x, aclexplode(x.datacl) a WHERE x.oid = s.objid AND a.grantee = 'hallpass_connect'::regrole AND a.privilege_type <> 'CONNECT'))
  GROUP BY s.deptype, d.datname
$$;

-- Forgets tokens that have expired, a few thousand at a time.
CREATE FUNCTION hallpass.prune() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
DECLARE
  pruned int;
BEGIN
  DELETE FROM hallpass.used WHERE random IN (SELECT u.random FROM hallpass.used u WHERE u.until < extract(epoch FROM clock_timestamp()) LIMIT 5000);
  GET DIAGNOSTICS pruned = ROW_COUNT;
  RETURN pruned;
END
$$;

-- Gives the other one of the broker's two logins a new password, as a verifier; its name is returned. Open sessions of
-- that login are of brokers that have not switched yet, or of a thief of its old password.
CREATE FUNCTION hallpass.set_password(p_verifier text, p_end_sessions boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER {{settings}}
AS $$
DECLARE
  other text := CASE session_user WHEN 'hallpass' THEN 'hallpass_2' WHEN 'hallpass_2' THEN 'hallpass' END;
  sessions int;
BEGIN
  IF other IS NULL THEN
    RAISE EXCEPTION '% is none of the broker''s two logins', session_user USING ERRCODE = 'HP005';
  END IF;
  -- Anything else would be taken for a password in the clear, or lock the login.
  IF p_verifier IS NULL OR p_verifier !~ '^SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$' THEN
    RAISE EXCEPTION 'that is no verifier of a password' USING ERRCODE = 'HP005';
  END IF;
  SELECT count(*) INTO sessions FROM pg_stat_activity WHERE usename = other;
  IF sessions > 0 AND p_end_sessions IS NOT TRUE THEN
    RAISE EXCEPTION '% has % open sessions, of brokers that still use it or of someone else; wait until they have switched, or end them with `--end-sessions`', other, sessions
      USING ERRCODE = 'HP014';
  END IF;
  EXECUTE format('ALTER ROLE %I PASSWORD %L', other, p_verifier);
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = other;
  RETURN other;
END
$$;

-- So that a broker can tell a file it does not know.
CREATE FUNCTION hallpass.version() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT '{{contract}}'::text $$;

REVOKE ALL ON FUNCTION {{control_functions}} FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {{control_functions}} TO hallpass, hallpass_2;
-- Logins of the first release's file: who inherits stands in the broker's record, and `mint` did not write it in front.
DO $hallpass$
DECLARE
  lease record;
BEGIN
  FOR lease IN SELECT r.rolname::text AS login, coalesce(shobj_description(r.oid, 'pg_authid'), '') AS about
      FROM pg_roles r WHERE r.rolname::text ~ '{{pattern}}' LOOP
    IF lease.about !~ '^heir=' THEN
      EXECUTE format('COMMENT ON ROLE %I IS %L', lease.login, 'heir=' || coalesce((SELECT c.group_name FROM hallpass.ceilings() c
        WHERE c.may_act_as_group AND lease.about ~ '"own":true' AND c.group_name = substring(lease.about FROM '"grp":"([^"]*)"')), 'hallpass_quarantine') || E'\n' || lease.about);
    END IF;
  END LOOP;
END
$hallpass$;
RESET ROLE;
COMMIT;
