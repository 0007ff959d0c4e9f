DECLARE
  lease oid;
  begun timestamptz := clock_timestamp();
  object record;
  thing text;
  grantee text;
{{opening}}
  more := false;
  done := 0;
  problems := '{}';
  SELECT oid INTO lease FROM pg_roles WHERE rolname = p_login::name;
{{unless_live}}
  FOR object IN
    SELECT o.class, o.object, o.acl FROM (
      SELECT 'pg_class'::regclass::oid AS class, c.oid AS object,
          nullif(coalesce(c.relacl, '{}') || coalesce((SELECT array_agg(x) FROM pg_attribute t, unnest(t.attacl) x WHERE t.attrelid = c.oid), '{}'), '{}') AS acl
        FROM pg_class c WHERE c.relowner = lease AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
          AND (c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL))
      UNION ALL SELECT 'pg_type'::regclass, t.oid, coalesce(typacl, acldefault('T', typowner)) FROM pg_type t
        WHERE typowner = lease AND NOT (t.typtype = 'b' AND t.typcategory = 'A') AND (typtype IN ('b', 'd', 'e', 'r')
          OR (typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c')))
      UNION ALL SELECT 'pg_namespace'::regclass, oid, nspacl FROM pg_namespace WHERE nspowner = lease
      UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomacl FROM pg_largeobject_metadata WHERE lomowner = lease AND lomacl IS NOT NULL) o
    WHERE EXISTS (SELECT FROM aclexplode(o.acl) a WHERE a.grantee NOT IN (lease, 'hallpass_janitor'::regrole))
    ORDER BY random() LIMIT {{most_large_objects}}
  LOOP
    IF done + cardinality(problems) > 0 AND clock_timestamp() > begun + interval '{{step_budget}}' THEN
      more := true;
      EXIT;
    END IF;
    BEGIN
      thing := CASE object.class
        WHEN 'pg_class'::regclass THEN (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END FROM pg_class WHERE oid = object.object) || object.object::regclass
        WHEN 'pg_type'::regclass THEN 'TYPE ' || object.object::regtype
        WHEN 'pg_namespace'::regclass THEN 'SCHEMA ' || object.object::regnamespace
        ELSE 'LARGE OBJECT ' || object.object END;
      FOR grantee IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
          FROM aclexplode(object.acl) a WHERE a.grantee NOT IN (lease, 'hallpass_janitor'::regrole) LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', thing, grantee);
      END LOOP;
      done := done + 1;
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('%s: %s', lower(thing), SQLERRM);
    END;
  END LOOP;
  more := (more OR done + cardinality(problems) >= {{most_large_objects}}) AND done > 0;
  problems := problems[1:{{most_problems}}];
  RETURN NEXT;
END
