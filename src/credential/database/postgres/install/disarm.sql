DECLARE
  lease oid;
  begun timestamptz := clock_timestamp();
  routine record;
  grantee text;
  statement text;
BEGIN
  IF NOT p_login ~ '{{pattern}}' THEN
    RAISE EXCEPTION '% is no name of a lease', p_login USING ERRCODE = 'HP005';
  END IF;
  more := false;
  done := 0;
  problems := '{}';
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  -- What an acting login made, its group could have made.
  IF lease IS NULL OR shobj_description(lease, 'pg_authid') !~ '^heir=hallpass_quarantine\n' THEN
    RETURN NEXT;
    RETURN;
  END IF;
  -- Nothing of a job may wait for the end of the transaction, where it would run as the cleaner.
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM set_config('lock_timeout', '100ms', true);

  -- First all code loses its power: from here on it runs as the login, which has none, and nobody may call it. This
  -- locks the routine and nothing else. An aggregate has no code of its own.
  FOR routine IN
    SELECT p.oid, p.prokind <> 'a' AND NOT p.prosecdef AS is_armed, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
    FROM pg_proc p
    WHERE p.proowner = lease
      AND ((p.prokind <> 'a' AND NOT p.prosecdef)
           OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> lease))
    ORDER BY p.prorettype <> 'trigger'::regtype, random()
  LOOP
    IF clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    BEGIN
      IF routine.is_armed THEN
        EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER', routine.oid::regprocedure);
      END IF;
      FOR grantee IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
          FROM aclexplode(routine.acl) a WHERE a.grantee <> lease LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s CASCADE', routine.oid::regprocedure, grantee);
      END LOOP;
      done := done + 1;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('routine %s stays armed: %s', routine.oid::regprocedure, SQLERRM);
    END;
  END LOOP;
  IF more THEN
    RETURN NEXT;
    RETURN;
  END IF;

  -- Then it goes, and the triggers with it, unless something of anybody else's hangs on it. Other leases and the
  -- quarantine are not anybody else.
  FOR routine IN SELECT p.oid FROM pg_proc p WHERE p.proowner = lease ORDER BY random() LOOP
    IF clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    -- Gone with another.
    CONTINUE WHEN NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = routine.oid);
    BEGIN
      SELECT string_agg(DISTINCT pg_describe_object(o.class, o.object, 0), ', ') INTO statement
      FROM (
        WITH RECURSIVE hanging (class, object) AS (
          SELECT 'pg_proc'::regclass::oid, routine.oid
          UNION
          SELECT next.class, next.object FROM hanging h, LATERAL (
            SELECT d.classid AS class, d.objid AS object FROM pg_depend d
              WHERE d.refclassid = h.class AND d.refobjid = h.object AND d.deptype IN ('n', 'a', 'i', 'P', 'S')
            UNION ALL SELECT 'pg_class'::regclass, r.ev_class FROM pg_rewrite r WHERE h.class = 'pg_rewrite'::regclass AND r.oid = h.object
            UNION ALL SELECT 'pg_class'::regclass, a.adrelid FROM pg_attrdef a JOIN pg_attribute c ON (c.attrelid, c.attnum) = (a.adrelid, a.adnum)
              WHERE h.class = 'pg_attrdef'::regclass AND a.oid = h.object AND c.attgenerated <> ''
          ) next
        )
        SELECT h.class, h.object, CASE h.class
            WHEN 'pg_proc'::regclass THEN (SELECT proowner FROM pg_proc WHERE oid = h.object)
            WHEN 'pg_class'::regclass THEN (SELECT relowner FROM pg_class WHERE oid = h.object)
            WHEN 'pg_type'::regclass THEN (SELECT typowner FROM pg_type WHERE oid = h.object)
            WHEN 'pg_operator'::regclass THEN (SELECT oprowner FROM pg_operator WHERE oid = h.object)
            WHEN 'pg_statistic_ext'::regclass THEN (SELECT stxowner FROM pg_statistic_ext WHERE oid = h.object)
            WHEN 'pg_cast'::regclass THEN (SELECT t.typowner FROM pg_cast k JOIN pg_type t ON t.oid IN (k.castsource, k.casttarget) WHERE k.oid = h.object ORDER BY t.oid DESC LIMIT 1)
            WHEN 'pg_rewrite'::regclass THEN (SELECT c.relowner FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.oid = h.object)
            WHEN 'pg_attrdef'::regclass THEN (SELECT c.relowner FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid WHERE a.oid = h.object)
            WHEN 'pg_policy'::regclass THEN (SELECT c.relowner FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid WHERE y.oid = h.object)
            WHEN 'pg_constraint'::regclass THEN (SELECT coalesce(c.relowner, t.typowner) FROM pg_constraint k
              LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid WHERE k.oid = h.object)
          END AS owner
        FROM hanging h WHERE h.class <> 'pg_trigger'::regclass
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE h.class = 'pg_constraint'::regclass AND k.oid = h.object AND k.contype = 't')
      ) o
      WHERE NOT coalesce(pg_get_userbyid(o.owner) = 'hallpass_quarantine' OR pg_get_userbyid(o.owner)::text ~ '{{pattern}}', false);
      IF statement IS NULL THEN
        EXECUTE format('DROP ROUTINE %s CASCADE', routine.oid::regprocedure);
        done := done + 1;
      ELSE
        problems := problems || format('routine %s stays, without power, since others use it: %s', routine.oid::regprocedure, statement);
      END IF;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('routine %s stays, without power: %s', routine.oid::regprocedure, SQLERRM);
    END;
  END LOOP;

  -- A foreign key to somebody else's table would be checked with the rights of an owner that has none.
  FOR statement IN
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid
    WHERE k.contype = 'f' AND c.relowner = lease AND r.relowner <> lease AND k.conparentid = 0
  LOOP
    IF clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    BEGIN
      EXECUTE statement;
      done := done + 1;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('%s: %s', statement, SQLERRM);
    END;
  END LOOP;
  more := more AND done > 0;
  problems := problems[1:{{most_problems}}];
  RETURN NEXT;
END
