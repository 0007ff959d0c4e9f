DECLARE
  lease oid;
  heir text;
  begun timestamptz := clock_timestamp();
  object record;
  thing text;
  relations bigint;
  large_objects bigint;
{{opening}}
  more := false;
  done := 0;
  problems := '{}';
  last_class := p_after_class;
  last_object := p_after_object;
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
  IF NOT FOUND THEN
    RETURN NEXT;
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE oid = lease AND rolcanlogin) THEN
    RAISE EXCEPTION '% can still log in', p_login USING ERRCODE = 'HP007';
  END IF;
  PERFORM pg_stat_clear_snapshot();
  IF EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = lease) THEN
    RAISE EXCEPTION '% still has sessions', p_login USING ERRCODE = 'HP006';
  END IF;
  heir := substring(shobj_description(lease, 'pg_authid') FROM '^heir=([^\n]*)\n');
  IF heir = 'hallpass_quarantine' AND EXISTS (SELECT FROM pg_proc WHERE proowner = lease) THEN
    -- Whatever it is that still calls this code, it must not meet the power over what other jobs left.
    RAISE EXCEPTION 'code of % is left', p_login USING ERRCODE = 'HP011';
  END IF;
  SET CONSTRAINTS ALL IMMEDIATE;
  PERFORM set_config('lock_timeout', '100ms', true);
  SELECT count(*) INTO relations FROM pg_class WHERE relowner = lease;
  SELECT count(*) INTO large_objects FROM pg_largeobject_metadata WHERE lomowner = lease;

  -- One by one what is too much for one statement, which would hold a lock on all of it. These statements fire event
  -- triggers, with the power of the heir.
  IF relations > {{most_relations}} OR large_objects > {{most_large_objects}} THEN
    SELECT e.name INTO thing FROM hallpass.event_triggers() e LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'event trigger % would run with the power of %', thing, heir USING ERRCODE = 'HP012';
    END IF;
  END IF;
  FOR object IN
    SELECT s.classid, s.objid FROM pg_shdepend s
    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = lease AND s.deptype = 'o' AND s.objsubid = 0
      AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((s.classid = 'pg_class'::regclass AND relations > {{most_relations}})
           OR (s.classid = 'pg_largeobject'::regclass AND large_objects > {{most_large_objects}}))
      AND (s.classid, s.objid) > (p_after_class, p_after_object)
    ORDER BY s.classid, s.objid LIMIT CASE WHEN relations > {{most_relations}} THEN {{most_relations}} ELSE {{most_large_objects}} END
  LOOP
    IF done + cardinality(problems) > 0 AND clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    last_class := object.classid;
    last_object := object.objid;
    BEGIN
      IF object.classid = 'pg_largeobject'::regclass THEN
        EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %I', object.objid, heir);
      ELSIF (SELECT relkind FROM pg_class WHERE oid = object.objid) IN ('r', 'v', 'm', 'f', 'p', 'S') THEN
        EXECUTE format('ALTER TABLE %s OWNER TO %I', object.objid::regclass, heir);
      END IF;
      done := done + 1;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('%s: %s', pg_describe_object(object.classid, object.objid, 0), SQLERRM);
    END;
  END LOOP;
  more := more OR done + cardinality(problems) >= {{most_relations}};
  problems := problems[1:{{most_problems}}];
  IF NOT more THEN
    SELECT count(*) INTO relations FROM pg_class WHERE relowner = lease;
    SELECT count(*) INTO large_objects FROM pg_largeobject_metadata WHERE lomowner = lease;
    IF relations > {{most_relations}} OR large_objects > {{most_large_objects}} THEN
      problems := problems || format('it owns %s relations and %s large objects still', relations, large_objects);
    ELSE
      BEGIN
        -- Finds each object by its number, and fires no event trigger.
        EXECUTE format('REASSIGN OWNED BY %I TO %I', p_login, heir);
      EXCEPTION WHEN OTHERS THEN
        problems := problems || SQLERRM;
      END;
    END IF;
  END IF;
  RETURN NEXT;
END
