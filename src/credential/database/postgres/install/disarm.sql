DECLARE
  lease oid;
  begun timestamptz := clock_timestamp();
  routine record;
  grantee text;
  statement text;
{{opening}}
  more := false;
  last := p_after;
  done := 0;
  problems := '{}';
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  -- What an acting login made, its group could have made.
{{unless_live}}

  -- Whoever owns a schema may close it to himself.
  FOR statement IN SELECT format('GRANT USAGE ON SCHEMA %I TO hallpass_janitor', n.nspname) FROM pg_namespace n
      WHERE n.nspowner = lease AND NOT has_schema_privilege('hallpass_janitor', n.oid, 'USAGE') LIMIT 100 LOOP
    BEGIN
      EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('%s: %s', statement, SQLERRM);
    END;
  END LOOP;

  -- All code loses its power: from here on it runs as the login, which has none, and nobody may call it. This locks the
  -- routine and nothing else. An aggregate has no code of its own. Arguments are marked IN, since without it another
  -- routine could have the same name and all arguments.
  FOR routine IN
    SELECT p.oid, p.prokind <> 'a' AND NOT p.prosecdef AS is_armed, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl,
      CASE p.prokind WHEN 'a' THEN p.oid::regprocedure::text ELSE format('%I.%I(%s)', n.nspname, p.proname, (SELECT string_agg('IN ' || format_type(a.type, NULL), ', ' ORDER BY a.position)
        FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, position))) END AS name
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proowner = lease AND p.oid > p_after
      AND ((p.prokind <> 'a' AND NOT p.prosecdef)
           OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee <> lease))
    ORDER BY p.oid LIMIT {{most_routines}}
  LOOP
    IF done + cardinality(problems) > 0 AND clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    last := routine.oid;
    BEGIN
      IF routine.is_armed THEN
        EXECUTE format('ALTER ROUTINE %s SECURITY DEFINER', routine.name);
      END IF;
      FOR grantee IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
          FROM aclexplode(routine.acl) a WHERE a.grantee <> lease LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s CASCADE', routine.name, grantee);
      END LOOP;
      done := done + 1;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('routine %s stays armed: %s', routine.oid::regprocedure, SQLERRM);
    END;
  END LOOP;
  more := more OR done + cardinality(problems) >= {{most_routines}};
  problems := problems[1:{{most_problems}}];
  RETURN NEXT;
END
