DECLARE
  lease oid;
  heir text;
  borrowed text;
  borrowed_roles text[] := '{}';
  left_classes oid[];
  left_objects oid[];
  object oid;
  class oid;
  thing text;
  grantee text;
  signature text;
  inert text;
  original text;
BEGIN
  IF NOT p_login ~ '{{pattern}}' THEN
    RAISE EXCEPTION '% is no name of a lease', p_login USING ERRCODE = 'HP005';
  END IF;
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  IF NOT FOUND THEN
    RETURN 'gone';
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE oid = lease AND rolcanlogin) THEN
    RAISE EXCEPTION '% can still log in', p_login USING ERRCODE = 'HP007';
  END IF;
  PERFORM pg_stat_clear_snapshot();
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = lease) THEN
    RAISE EXCEPTION '% still has sessions', p_login USING ERRCODE = 'HP006';
  END IF;
  -- The statements below fire event triggers, with this function's power.
  IF EXISTS (SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_roles r ON r.oid = p.proowner
             WHERE e.evtenabled <> 'D' AND p.proowner <> e.evtowner AND NOT r.rolsuper) THEN
    RAISE EXCEPTION 'an event trigger of database % calls a function that belongs to a role without superuser', current_database() USING ERRCODE = 'HP008';
  END IF;

  -- From the memberships, which a login cannot change.
  SELECT pg_get_userbyid(m.roleid)::text INTO heir FROM pg_auth_members m
    WHERE m.member = lease AND pg_get_userbyid(m.roleid)::text = ANY (hallpass.owning_groups()){{acting_membership}}
    ORDER BY 1 LIMIT 1;
  heir := coalesce(heir, 'hallpass_quarantine');

  -- Giving away takes the power of both sides, and taking grants back that of whoever gave them. Borrowed for
  -- this transaction only.
  FOR borrowed IN SELECT r.rolname::text FROM pg_roles r
      WHERE r.rolname::text = ANY (hallpass.target_groups() || ARRAY[p_login, heir]) ORDER BY 1 LOOP
    EXECUTE format('GRANT %I TO CURRENT_USER{{borrow_options}}', borrowed);
    borrowed_roles := borrowed_roles || borrowed;
  END LOOP;
  IF heir = 'hallpass_quarantine' THEN
    -- An heir must be allowed to create where the object stands.
    FOREACH borrowed IN ARRAY array_remove(borrowed_roles, heir) LOOP
      EXECUTE format('GRANT %I TO hallpass_quarantine{{lend_options}}', borrowed);
    END LOOP;
    SELECT array_agg(s.classid ORDER BY s.classid, s.objid), array_agg(s.objid ORDER BY s.classid, s.objid) INTO left_classes, left_objects
      FROM pg_shdepend s
      WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = lease AND s.deptype = 'o' AND s.objsubid = 0
        AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database());
  END IF;
  EXECUTE format('REASSIGN OWNED BY %I TO %I', p_login, heir);
  -- What is left are grants to the login, its default privileges and the like: it owns nothing any more.
  EXECUTE format('DROP OWNED BY %I', p_login);

  -- In quarantine nobody but superusers can use a thing, and the owner of its schema may drop it. Code becomes inert
  -- and keeps its text as a comment: a trigger calls its function without asking for permission, with the power
  -- of whoever writes to the table; and code that ran as the quarantine could grant itself to everybody again.
  FOR class, object IN SELECT * FROM unnest(left_classes, left_objects) LOOP
    IF class = 'pg_proc'::regclass THEN
      thing := 'ROUTINE ' || object::regprocedure;
      SELECT CASE prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || format('%I.%I(%s)', nspname, proname, pg_get_function_arguments(p.oid))
          || CASE prokind WHEN 'p' THEN '' ELSE ' RETURNS ' || pg_get_function_result(p.oid) END,
        CASE prorettype WHEN 'trigger'::regtype THEN 'BEGIN IF TG_OP = ''DELETE'' THEN RETURN OLD; END IF; RETURN NEW; END'
          ELSE 'BEGIN RAISE EXCEPTION ''this code was left by a leased login and is in quarantine''; END' END,
        left(pg_get_functiondef(p.oid), 100000)
        INTO signature, inert, original
        FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE p.oid = object AND prokind IN ('f', 'p');
      IF FOUND THEN
        EXECUTE format('CREATE OR REPLACE %s LANGUAGE plpgsql SECURITY DEFINER AS %L', signature, inert);
        EXECUTE format('COMMENT ON %s IS %L', thing, original);
      END IF;
    ELSIF class = 'pg_class'::regclass THEN
      thing := (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || object::regclass FROM pg_class
                WHERE oid = object AND relkind IN ('r', 'v', 'm', 'f', 'p', 'S'));
    ELSIF class = 'pg_type'::regclass THEN
      thing := (SELECT 'TYPE ' || object::regtype FROM pg_type WHERE oid = object AND typcategory <> 'A' AND typtype IN ('b', 'c', 'd', 'e', 'r'));
    ELSIF class = 'pg_namespace'::regclass THEN
      thing := 'SCHEMA ' || object::regnamespace;
    ELSIF class = 'pg_largeobject'::regclass THEN
      thing := 'LARGE OBJECT ' || object;
    ELSE
      thing := NULL;
    END IF;
    CONTINUE WHEN thing IS NULL;
    FOR grantee IN
      SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
      FROM (SELECT coalesce(proacl, acldefault('f', proowner)) AS acl, proowner AS owner FROM pg_proc WHERE class = 'pg_proc'::regclass AND oid = object
            UNION ALL SELECT relacl, relowner FROM pg_class WHERE class = 'pg_class'::regclass AND oid = object
            UNION ALL SELECT attacl, relowner FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE class = 'pg_class'::regclass AND attrelid = object
            UNION ALL SELECT coalesce(typacl, acldefault('T', typowner)), typowner FROM pg_type WHERE class = 'pg_type'::regclass AND oid = object
            UNION ALL SELECT nspacl, nspowner FROM pg_namespace WHERE class = 'pg_namespace'::regclass AND oid = object
            UNION ALL SELECT lomacl, lomowner FROM pg_largeobject_metadata WHERE class = 'pg_largeobject'::regclass AND oid = object) o,
           aclexplode(o.acl) a
      WHERE a.grantee <> o.owner
    LOOP
      EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', thing, grantee);
    END LOOP;
  END LOOP;

  IF heir = 'hallpass_quarantine' THEN
    FOREACH borrowed IN ARRAY array_remove(borrowed_roles, heir) LOOP
      EXECUTE format('REVOKE %I FROM hallpass_quarantine{{take_back_options}}', borrowed);
    END LOOP;
  END IF;
  FOREACH borrowed IN ARRAY borrowed_roles LOOP
    EXECUTE format('REVOKE %I FROM CURRENT_USER{{take_back_options}}', borrowed);
  END LOOP;
  RETURN heir;
END
