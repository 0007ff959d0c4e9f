-- What an older file made and this one does not know must not stay callable.
DO $hallpass$
DECLARE
  old regprocedure;
BEGIN
  FOR old IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'hallpass'::regnamespace
      AND p.proname::text <> ALL (ARRAY[{{functions}}]) LOOP
    EXECUTE format('DROP ROUTINE %s', old);
  END LOOP;
END
$hallpass$;
