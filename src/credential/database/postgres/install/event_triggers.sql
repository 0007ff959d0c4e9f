  SELECT evtname::text FROM pg_event_trigger
  WHERE evtenabled <> 'D' AND evtname::text <> ALL (ARRAY[{{event_trigger_names}}]::text[])
    AND (evtevent = 'login' OR (evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop') AND (evttags IS NULL
      OR evttags && ARRAY['ALTER ROUTINE', 'DROP ROUTINE', 'REVOKE', 'DROP OWNED', 'ALTER TABLE', 'ALTER LARGE OBJECT'])))
  ORDER BY 1
