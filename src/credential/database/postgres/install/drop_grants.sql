DECLARE
  lease oid;
  trigger text;
{{opening}}
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE oid = lease AND rolcanlogin) THEN
    RAISE EXCEPTION '% can still log in', p_login USING ERRCODE = 'HP007';
  END IF;
  -- `DROP OWNED` would drop them. Default privileges and user mappings are no loss.
  IF EXISTS (SELECT FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = lease AND s.deptype = 'o'
             AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass) AND s.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))) THEN
    RAISE EXCEPTION '% still owns things here', p_login USING ERRCODE = 'HP011';
  END IF;
  -- An event trigger would run with the power of a group that is lent.
  SELECT e.name INTO trigger FROM hallpass.event_triggers() e LIMIT 1;
  IF FOUND AND EXISTS (SELECT FROM pg_auth_members m WHERE m.member = 'hallpass_janitor'::regrole AND m.roleid <> lease) THEN
    RAISE EXCEPTION 'event trigger % would run with the power of a group', trigger USING ERRCODE = 'HP012';
  END IF;
  SET CONSTRAINTS ALL IMMEDIATE;
  EXECUTE format('DROP OWNED BY %I', p_login);
  RETURN true;
END
