-- 4. The installer gives back what section 1 lent him ------------------------------------------------
DO $hallpass$
BEGIN
  IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    REVOKE hallpass_definer, hallpass_janitor FROM CURRENT_USER{{take_back_options}};
  END IF;
END
$hallpass$;
