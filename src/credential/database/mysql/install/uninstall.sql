DROP PROCEDURE IF EXISTS hallpass.require_no_lease
//
CREATE PROCEDURE hallpass.require_no_lease() SQL SECURITY INVOKER
BEGIN
  IF EXISTS (SELECT * FROM {{accounts_table}} WHERE Host = '%' AND User REGEXP '{{pattern}}' AND CHAR_LENGTH(User) = {{name_length}}) OR EXISTS (SELECT * FROM hallpass.checkouts) THEN
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = 'there are leases; end them first with hallpass leases revoke, or wait until they end';
  END IF;
END
//
CALL hallpass.require_no_lease()
//
DROP USER IF EXISTS {{broker_account}}
//
DROP USER IF EXISTS {{second_account}}
//
DROP DATABASE hallpass
//
DROP USER IF EXISTS hallpass_definer@localhost
//
