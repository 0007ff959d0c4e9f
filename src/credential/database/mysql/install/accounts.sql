-- 1. Accounts and tables ---------------------------------------------------------------------------

CREATE DATABASE IF NOT EXISTS hallpass
//
-- Also when it was there: with another collation, two groups would be one.
ALTER DATABASE hallpass CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
//
-- The routines keep these settings, whatever a caller's session has.
SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'
//
SET NAMES utf8mb4 COLLATE utf8mb4_bin
//
DROP PROCEDURE IF EXISTS hallpass.require_server
//
-- A removal that stopped leaves it.
DROP PROCEDURE IF EXISTS hallpass.require_no_lease
//
-- Stops on another server, and where our names are taken.
CREATE PROCEDURE hallpass.require_server() SQL SECURITY INVOKER
BEGIN
  DECLARE taken VARCHAR(300) DEFAULT NULL;
  IF {{is_other_server}} THEN
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = 'this file is for {{server}}; print it with --server-version of this server';
  END IF;
  SELECT MIN(CONCAT(User, '@', Host)) INTO taken FROM {{accounts_table}}
    WHERE User = 'hallpass_definer' AND NOT (Host = 'localhost' AND {{is_locked}});
  IF taken IS NOT NULL THEN
    SET taken = CONCAT('account ', taken, ' is not from this file; drop it if nothing uses it');
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = taken;
  END IF;
  SELECT MIN(CONCAT(ROUTINE_NAME, ' by ', DEFINER)) INTO taken FROM information_schema.ROUTINES
    WHERE ROUTINE_SCHEMA = 'hallpass' AND ROUTINE_NAME NOT IN ('require_server', 'require_tables') AND DEFINER <> 'hallpass_definer@localhost';
  IF taken IS NOT NULL THEN
    SET taken = CONCAT('database hallpass has a routine that is not from this file: ', LEFT(taken, 60));
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = taken;
  END IF;
  SELECT MIN(CONCAT(User, '@', Host)) INTO taken FROM mysql.db
    WHERE 'hallpass' LIKE Db AND User NOT IN ('hallpass_definer', '{{broker}}', '{{second}}');
  IF taken IS NOT NULL THEN
    SET taken = CONCAT('account ', LEFT(taken, 60), ' has privileges in database hallpass; revoke them');
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = taken;
  END IF;
  SELECT MIN(CONCAT(User, '@', Host)) INTO taken FROM {{accounts_table}}
    WHERE User = '{{second}}' AND NOT EXISTS (SELECT * FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'hallpass' AND ROUTINE_NAME = 'set_password')
      AND NOT (Host = '%' AND {{has_no_password}});
  IF taken IS NOT NULL THEN
    SET taken = CONCAT('account ', LEFT(taken, 60), ' is not from this file; drop it if nothing uses it');
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = taken;
  END IF;
END
//
CALL hallpass.require_server()
//
DROP PROCEDURE hallpass.require_server
//
DROP PROCEDURE IF EXISTS hallpass.require_tables
//
-- Stops if database hallpass has objects that are not from this file. An account that may CREATE everywhere could have
-- made them: a table of another engine can lead to other tables, and a row can name any account.
CREATE PROCEDURE hallpass.require_tables(IN p_are_made BOOLEAN) SQL SECURITY INVOKER
BEGIN
  DECLARE taken VARCHAR(300) DEFAULT NULL;
  DECLARE is_first BOOLEAN DEFAULT NOT EXISTS (SELECT * FROM {{accounts_table}} WHERE User = 'hallpass_definer' AND Host = 'localhost');
  SELECT MIN(found.what) INTO taken FROM ({{not_ours}}
    UNION ALL SELECT CONCAT('table ', t.TABLE_NAME) FROM information_schema.TABLES t
      WHERE t.TABLE_SCHEMA = 'hallpass' AND t.TABLE_TYPE <> 'VIEW' AND is_first AND NOT p_are_made) found;
  IF taken IS NOT NULL THEN
    SET taken = CONCAT('database hallpass has a ', LEFT(taken, 60), ' that is not from this file; drop it');
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = taken;
  END IF;
  IF p_are_made AND 4 <> (SELECT COUNT(*) FROM information_schema.TABLE_CONSTRAINTS k WHERE k.TABLE_SCHEMA = 'hallpass'
      AND ((k.TABLE_NAME IN ('leases', 'checkouts', 'ceilings') AND k.CONSTRAINT_TYPE = 'PRIMARY KEY') OR (k.TABLE_NAME = 'leases' AND k.CONSTRAINT_TYPE = 'UNIQUE'))) THEN
    SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = 'the tables of database hallpass do not have the keys of this file; drop the database';
  END IF;
  IF is_first AND p_are_made THEN
    IF EXISTS (SELECT * FROM hallpass.leases) OR EXISTS (SELECT * FROM hallpass.checkouts) THEN
      SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = 'the tables of database hallpass have rows already; drop the database';
    END IF;
  END IF;
END
//
CALL hallpass.require_tables(FALSE)
//
-- What was made for which token: a token never makes a second login, also after the first one is gone. A row
-- becomes `live` when its login is complete; it goes when its token has expired. `account` is what is checked out.
CREATE TABLE IF NOT EXISTS hallpass.leases (
  random CHAR(13) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  login VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
  ends BIGINT NOT NULL,
  made BIGINT NOT NULL,
  until BIGINT NOT NULL,
  state ENUM('making', 'live', 'ending', 'gone') NOT NULL,
  grp VARCHAR(128) NOT NULL,
  account VARCHAR(128) NULL,
  holder CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL,
  record VARCHAR(2048) NOT NULL,
  KEY by_holder (holder, ends),
  KEY by_until (state, until)
) ENGINE = InnoDB
//
-- One job at a time has an account that is checked out.
CREATE TABLE IF NOT EXISTS hallpass.checkouts (
  account VARCHAR(128) NOT NULL PRIMARY KEY,
  login VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE = InnoDB
//
-- The ceilings: the broker's password does not reach beyond them. To change one, print this file again
-- and run it.
CREATE TABLE IF NOT EXISTS hallpass.ceilings (
  grp VARCHAR(128) NOT NULL,
  is_checkout BOOLEAN NOT NULL,
  longest_life INT NOT NULL,
  most_connections INT NOT NULL,
  PRIMARY KEY (grp, is_checkout)
) ENGINE = InnoDB
//
CALL hallpass.require_tables(TRUE)
//
DROP PROCEDURE hallpass.require_tables
//
-- Owns the procedures. No session can be its: it is locked, and no password has this hash.
CREATE USER IF NOT EXISTS hallpass_definer@localhost {{no_password}} ACCOUNT LOCK
//
ALTER USER hallpass_definer@localhost {{no_password}} ACCOUNT LOCK
//
GRANT CREATE USER, PROCESS, {{connection_admin}} ON *.* TO hallpass_definer@localhost
//
GRANT SELECT{{update_mysql}} ON mysql.* TO hallpass_definer@localhost
//
-- TRIGGER shows it what is in the database.
GRANT EXECUTE, EVENT, TRIGGER ON hallpass.* TO hallpass_definer@localhost
//
{{grant_groups}}
-- The broker's login. It can call the procedures of section 3 and nothing else. Its password is set afterwards.
CREATE USER IF NOT EXISTS {{broker_account}} {{no_password}}
//
ALTER USER {{broker_account}} REQUIRE {{require}} WITH MAX_USER_CONNECTIONS {{broker_connections}}
//
-- Its second login, with the same rights. Each can give the other a new password, so that `hallpass target rotate-login`
-- interrupts nothing. Until then no login as it is possible.
CREATE USER IF NOT EXISTS {{second_account}} {{no_password}}
//
ALTER USER {{second_account}} REQUIRE {{require}} WITH MAX_USER_CONNECTIONS {{broker_connections}}
//
GRANT SELECT, INSERT, UPDATE, DELETE ON hallpass.leases TO hallpass_definer@localhost
//
GRANT SELECT, INSERT, UPDATE, DELETE ON hallpass.checkouts TO hallpass_definer@localhost
//
GRANT SELECT ON hallpass.ceilings TO hallpass_definer@localhost
//
START TRANSACTION
//
DELETE FROM hallpass.ceilings
//
INSERT INTO hallpass.ceilings (grp, is_checkout, longest_life, most_connections) VALUES
{{ceilings}}
//
COMMIT
//
-- 2. What the procedures read ------------------------------------------------------------------------

-- Accounts with names of leases, by the server's own catalogue: a name begins with the second in which it ends.
DROP VIEW IF EXISTS hallpass.accounts
//
CREATE DEFINER = hallpass_definer@localhost SQL SECURITY INVOKER VIEW hallpass.accounts AS
  SELECT CONVERT(User USING ascii) AS login, CAST(CONV(SUBSTRING(User, {{prefix_length}} + 1, 7), 32, 10) AS SIGNED) AS ends,
    CONVERT(SUBSTRING(User, {{prefix_length}} + 9) USING ascii) AS random, {{is_locked}} AS is_locked
  FROM {{accounts_table}}
  WHERE Host = '%' AND User >= '{{prefix}}0' AND User < '{{prefix}}w' AND User REGEXP '{{pattern}}' AND CHAR_LENGTH(User) = {{name_length}}
//
-- Which role is granted to whom.
DROP VIEW IF EXISTS hallpass.memberships
//
CREATE DEFINER = hallpass_definer@localhost SQL SECURITY INVOKER VIEW hallpass.memberships AS
  {{memberships}}
//
GRANT SELECT ON hallpass.accounts TO hallpass_definer@localhost
//
GRANT SELECT ON hallpass.memberships TO hallpass_definer@localhost
//
