BEGIN
  IF NOT p_login ~ '{{pattern}}' THEN
    RAISE EXCEPTION '% is no name of a lease', p_login USING ERRCODE = 'HP005';
  END IF;
  -- What the caller's transaction did before, a deferred trigger for one, would run with the power of this function.
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    RAISE EXCEPTION 'this function is called alone in its transaction' USING ERRCODE = 'HP004';
  END IF;
