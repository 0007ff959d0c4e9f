  IF lease IS NULL OR shobj_description(lease, 'pg_authid') !~ '^heir=hallpass_quarantine\n' THEN
    RETURN NEXT;
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_auth_members WHERE member = lease AND roleid = 'hallpass_connect'::regrole) THEN
    RAISE EXCEPTION '% is live', p_login USING ERRCODE = 'HP007';
  END IF;
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM set_config('lock_timeout', '100ms', true);
