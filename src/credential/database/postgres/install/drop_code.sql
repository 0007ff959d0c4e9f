DECLARE
  lease oid;
  begun timestamptz := clock_timestamp();
  routine record;
  statement text;
{{opening}}
  more := false;
  last := p_after;
  done := 0;
  problems := '{}';
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  -- What an acting login made, its group could have made.
{{unless_live}}

  -- Code goes, and the triggers with it, unless something of anybody else's hangs on it. Other leases and the
  -- quarantine are not anybody else. What hangs on it is bounded: all of it is locked at once.
  FOR routine IN
    SELECT p.oid, CASE p.prokind WHEN 'a' THEN p.oid::regprocedure::text ELSE format('%I.%I(%s)', n.nspname, p.proname, (SELECT string_agg('IN ' || format_type(a.type, NULL), ', ' ORDER BY a.position)
        FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, position))) END AS name
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proowner = lease AND p.oid > p_after ORDER BY p.oid LIMIT {{most_routines}}
  LOOP
    IF done + cardinality(problems) > 0 AND clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    last := routine.oid;
    -- Gone with another.
    CONTINUE WHEN NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = routine.oid);
    BEGIN
      SELECT CASE WHEN count(*) FILTER (WHERE o.is_outside) > 0
                    THEN string_agg(DISTINCT pg_describe_object(o.class, o.object, 0), ', ') FILTER (WHERE o.is_outside)
                  WHEN count(*) > {{most_hanging}} THEN 'more than {{most_hanging}} objects' END INTO statement
      FROM (SELECT b.class, b.object, b.class <> 'pg_trigger'::regclass
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE b.class = 'pg_constraint'::regclass AND k.oid = b.object AND k.contype = 't')
          AND NOT coalesce(pg_get_userbyid(b.owner) = 'hallpass_quarantine' OR pg_get_userbyid(b.owner)::text ~ '{{pattern}}', false) AS is_outside
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
            -- The constructors of a range type belong to the server, and to the type.
            WHEN 'pg_proc'::regclass THEN coalesce((SELECT t.typowner FROM pg_depend x JOIN pg_type t ON t.oid = x.refobjid
              WHERE x.classid = 'pg_proc'::regclass AND x.objid = h.object AND x.refclassid = 'pg_type'::regclass AND x.deptype = 'i' LIMIT 1),
              (SELECT proowner FROM pg_proc WHERE oid = h.object))
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
        FROM (SELECT * FROM hanging LIMIT {{most_hanging}} + 1) h
      ) b) o;
      IF statement IS NULL THEN
        EXECUTE format('DROP ROUTINE %s CASCADE', routine.name);
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
    IF done + cardinality(problems) > 0 AND clock_timestamp() > begun + interval '{{step_budget}}' THEN
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
  more := more OR done + cardinality(problems) >= {{most_routines}};
  problems := problems[1:{{most_problems}}];
  RETURN NEXT;
END
