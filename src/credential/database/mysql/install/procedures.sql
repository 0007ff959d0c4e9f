-- 3. What the broker's login may call, and what those procedures call -----------------------------------

-- Sessions of a user are ended; the number of those there were. One that is gone meanwhile is ended.
DROP PROCEDURE IF EXISTS hallpass.kill_sessions
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.kill_sessions(IN p_user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, OUT p_ended INT)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE is_done BOOLEAN DEFAULT FALSE;
  DECLARE session BIGINT UNSIGNED;
  DECLARE sessions CURSOR FOR SELECT ID FROM information_schema.PROCESSLIST WHERE CAST(USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin = p_user;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET is_done = TRUE;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  SET p_ended = 0;
  OPEN sessions;
  every_session: LOOP
    FETCH sessions INTO session;
    IF is_done THEN
      LEAVE every_session;
    END IF;
    SET p_ended = p_ended + 1;
    KILL session;
  END LOOP;
  CLOSE sessions;
END
//
-- The account that a lease logs in with: its own, or the one that it has checked out. NULL when there is none.
DROP PROCEDURE IF EXISTS hallpass.account_of
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.account_of(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, OUT p_account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, OUT p_is_checkout BOOLEAN)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  IF p_login IS NULL OR NOT (p_login REGEXP '{{pattern}}' AND CHAR_LENGTH(p_login) = {{name_length}}) THEN
    SIGNAL SQLSTATE 'HP005' SET MESSAGE_TEXT = 'that is no name of a lease';
  END IF;
  SET p_account = (SELECT c.account FROM hallpass.checkouts c WHERE c.login = p_login);
  SET p_is_checkout = p_account IS NOT NULL;
  IF p_account IS NULL THEN
    SET p_account = (SELECT a.login FROM hallpass.accounts a WHERE a.login = p_login);
  END IF;
END
//
-- Why logins must not be made in a group, or an account must not be checked out; NULL if nothing is against it. Walks
-- every role inside another. A login that made a view, routine, trigger or event would leave it behind with its own
-- name as DEFINER: it fails when the login is gone, and the application with it.
DROP PROCEDURE IF EXISTS hallpass.unfit
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.unfit(IN p_group VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_is_checkout BOOLEAN, OUT p_problem VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  -- A caller could have them cut the walk short.
  {{recursion}}
  SET p_problem = NULL;
  IF p_group LIKE 'hallpass%' OR p_group IN ('{{broker}}', '{{second}}') OR LEFT(p_group, {{prefix_length}}) = '{{prefix}}' THEN
    SET p_problem = CONCAT('`', p_group, '` is reserved for the broker');
  ELSEIF p_is_checkout AND NOT EXISTS (SELECT * FROM mysql.user u WHERE u.User = p_group AND u.Host = '%' AND {{is_account}}) THEN
    SET p_problem = CONCAT('account ', QUOTE(p_group), '@''%'' does not exist');
  ELSEIF NOT p_is_checkout AND NOT EXISTS (SELECT * FROM {{accounts_table}} u WHERE u.User = p_group AND u.Host = '{{role_host}}' AND {{is_role}}) THEN
    SET p_problem = CONCAT('role ', QUOTE(p_group), ' does not exist{{or_can_log_in}}');
  ELSEIF p_is_checkout AND NOT EXISTS (SELECT * FROM hallpass.checkouts c WHERE c.account = p_group)
      AND NOT EXISTS (SELECT * FROM {{accounts_table}} u WHERE u.User = p_group AND u.Host = '%' AND {{is_locked}}) THEN
    SET p_problem = CONCAT('account ', QUOTE(p_group), '@''%'' is not locked, so another program may use it');
  ELSEIF p_is_checkout AND EXISTS (SELECT * FROM mysql.user u WHERE u.User = p_group AND u.Host <> '%') THEN
    SET p_problem = CONCAT('account ', QUOTE(p_group), ' exists for other hosts too, and sessions do not show which they are of');
  {{mandatory}}
  ELSE
    SET p_problem = (
      WITH RECURSIVE above AS (
        SELECT CAST(p_group AS CHAR(128) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS name, CAST(IF(p_is_checkout, '%', '{{role_host}}') AS CHAR(255) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS host, 0 AS administers
        UNION SELECT CAST('{{everybody}}' AS CHAR(128) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, CAST('' AS CHAR(255) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, 0
        UNION
        SELECT CAST(m.role AS CHAR(128) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, CAST(m.role_host AS CHAR(255) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, m.administers
          FROM above JOIN hallpass.memberships m ON m.member = above.name AND m.member_host = above.host
      ), found AS (
        SELECT a.name, 'may grant itself to others' AS problem FROM above a WHERE a.administers
        UNION ALL SELECT a.name, 'is reserved for the broker' FROM above a WHERE a.name LIKE 'hallpass%' OR LEFT(a.name, {{prefix_length}}) = '{{prefix}}'
        UNION ALL SELECT a.name, 'has a privilege on the whole server' FROM above a JOIN {{accounts_table}} u ON u.User = a.name AND u.Host = a.host WHERE {{has_global}}
        {{has_dynamic}}
        UNION ALL SELECT a.name, 'may act as another account' FROM above a JOIN mysql.proxies_priv p ON p.User = a.name AND p.Host = a.host
        UNION ALL SELECT IF(d.User = '', 'everybody', a.name), CONCAT('has privileges in database `', d.Db, '`') FROM above a JOIN mysql.db d ON (d.User = a.name AND d.Host = a.host) OR (d.User = '' AND a.name = p_group)
          WHERE 'mysql' LIKE d.Db OR 'hallpass' LIKE d.Db OR 'sys' LIKE d.Db
        UNION ALL SELECT IF(d.User = '', 'everybody', a.name), CONCAT('may grant privileges in database `', d.Db, '`') FROM above a JOIN mysql.db d ON (d.User = a.name AND d.Host = a.host) OR (d.User = '' AND a.name = p_group) WHERE d.Grant_priv = 'Y'
        UNION ALL SELECT IF(d.User = '', 'everybody', a.name), CONCAT('may make views, routines, triggers or events in database `', d.Db, '`') FROM above a JOIN mysql.db d ON (d.User = a.name AND d.Host = a.host) OR (d.User = '' AND a.name = p_group)
          WHERE NOT p_is_checkout AND 'Y' IN (d.Create_view_priv, d.Create_routine_priv, d.Alter_routine_priv, d.Trigger_priv, d.Event_priv)
        UNION ALL SELECT a.name, CONCAT('has privileges in database `', t.Db, '`') FROM above a JOIN mysql.tables_priv t ON t.User = a.name AND t.Host = a.host WHERE t.Db IN ('mysql', 'hallpass', 'sys')
        UNION ALL SELECT a.name, CONCAT('may grant privileges on `', t.Db, '`.`', t.Table_name, '`') FROM above a JOIN mysql.tables_priv t ON t.User = a.name AND t.Host = a.host WHERE FIND_IN_SET('Grant', t.Table_priv)
        UNION ALL SELECT a.name, CONCAT('may make a view or trigger of `', t.Db, '`.`', t.Table_name, '`') FROM above a JOIN mysql.tables_priv t ON t.User = a.name AND t.Host = a.host
          WHERE NOT p_is_checkout AND (FIND_IN_SET('Create View', t.Table_priv) OR FIND_IN_SET('Trigger', t.Table_priv))
        UNION ALL SELECT a.name, CONCAT('has privileges in database `', c.Db, '`') FROM above a JOIN mysql.columns_priv c ON c.User = a.name AND c.Host = a.host WHERE c.Db IN ('mysql', 'hallpass', 'sys')
        UNION ALL SELECT a.name, CONCAT('may change or grant routine `', r.Db, '`.`', r.Routine_name, '`') FROM above a JOIN mysql.procs_priv r ON r.User = a.name AND r.Host = a.host
          WHERE FIND_IN_SET('Grant', r.Proc_priv) OR r.Db IN ('mysql', 'hallpass') OR (NOT p_is_checkout AND FIND_IN_SET('Alter Routine', r.Proc_priv))
      )
      SELECT LEFT(CONCAT(IF(p_is_checkout AND f.name = p_group, 'account ', 'role '), QUOTE(p_group), IF(f.name = p_group, '', CONCAT(' is inside ', QUOTE(f.name), ', which')), ' ', f.problem), 300)
      FROM found f ORDER BY f.name <> p_group, f.name, f.problem LIMIT 1
    );
  END IF;
END
//
-- Takes back what a creation began and did not complete.
DROP PROCEDURE IF EXISTS hallpass.undo
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.undo(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE v_account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE ended INT;
  SET v_account = (SELECT l.account FROM hallpass.leases l WHERE l.login = p_login);
  IF v_account IS NOT NULL THEN
    -- Also when another lease has it by now: its password may be the one of this creation.
    CALL hallpass.lock_account(v_account, TRUE);
    CALL hallpass.kill_sessions(v_account, ended);
    DELETE FROM hallpass.checkouts WHERE login = p_login;
  ELSE
    SET @hallpass_sql = CONCAT('DROP USER IF EXISTS ', QUOTE(p_login), '@''%''');
    PREPARE made FROM @hallpass_sql;
    EXECUTE made;
    DEALLOCATE PREPARE made;
  END IF;
  DELETE FROM hallpass.leases WHERE login = p_login AND state = 'making';
  COMMIT AND NO CHAIN NO RELEASE;
END
//
-- No session begins as the account any more. With `p_scramble` nobody knows its password any more either.
DROP PROCEDURE IF EXISTS hallpass.lock_account
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.lock_account(IN p_account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_scramble BOOLEAN)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  SET @hallpass_sql = CONCAT('ALTER USER IF EXISTS ', QUOTE(p_account), '@''%'' ', IF(p_scramble, '{{no_password_text}} ', ''), 'ACCOUNT LOCK');
  PREPARE made FROM @hallpass_sql;
  EXECUTE made;
  DEALLOCATE PREPARE made;
END
//
-- Makes a login that ends, or gives back the one that this token made before. No row: that one is over, or
-- `p_create` is off and there is none. `p_until` is when the token can no longer be used.
DROP PROCEDURE IF EXISTS hallpass.mint
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.mint(
  IN p_random VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_hash VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  IN p_life INT, IN p_group VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_is_checkout BOOLEAN, IN p_connections INT,
  IN p_record VARCHAR(2048) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_until BIGINT,
  IN p_holder VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_create BOOLEAN)
MODIFIES SQL DATA SQL SECURITY DEFINER
creation: BEGIN
  DECLARE now BIGINT;
  DECLARE v_ends BIGINT;
  DECLARE v_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_state VARCHAR(16) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_problem VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_lock VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE v_life INT;
  DECLARE v_connections INT;
  DECLARE v_is_begun BOOLEAN DEFAULT FALSE;
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
    BEGIN
      -- What cannot be taken back now is found by its name when it ends.
      DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
      ROLLBACK AND NO CHAIN NO RELEASE;
      IF v_is_begun THEN
        CALL hallpass.undo(v_login);
      END IF;
      SET @hallpass_sql = NULL;
      DO RELEASE_LOCK(v_lock);
    END;
    RESIGNAL;
  END;
  {{opening}}
  IF p_random IS NULL OR NOT (p_random REGEXP '^[0-9a-v]{13}$' AND CHAR_LENGTH(p_random) = 13) THEN
    SIGNAL SQLSTATE 'HP004' SET MESSAGE_TEXT = 'the random part is not 13 digits';
  END IF;
  IF p_holder IS NULL OR NOT (p_holder REGEXP '^[0-9a-f]{32}$' AND CHAR_LENGTH(p_holder) = 32) THEN
    SIGNAL SQLSTATE 'HP004' SET MESSAGE_TEXT = 'the holder is not a hash of 32 digits';
  END IF;
  -- One login per token and credential, also when two brokers ask at once. Anybody may take a lock of any name, so a
  -- job can keep its own token from a repeat, and nothing else.
  SET v_lock = CONCAT('hallpass.', p_random);
  IF COALESCE(GET_LOCK(v_lock, 2), 0) <> 1 THEN
    SIGNAL SQLSTATE 'HP011' SET MESSAGE_TEXT = 'another session holds the lock of this login';
  END IF;
  SELECT MAX(l.state), MAX(l.login) INTO v_state, v_login FROM hallpass.leases l WHERE l.random = p_random;
  IF v_state = 'making' AND p_create THEN
    -- Whoever began it held the lock and is gone, and nobody was given its password.
    CALL hallpass.undo(v_login);
  ELSEIF v_state = 'making' OR v_state = 'ending' OR v_state = 'gone' THEN
    DO RELEASE_LOCK(v_lock);
    LEAVE creation;
  ELSEIF v_state = 'live' OR EXISTS (SELECT * FROM hallpass.accounts a WHERE a.random = p_random) THEN
    CALL hallpass.found(p_random, FALSE);
    DO RELEASE_LOCK(v_lock);
    LEAVE creation;
  END IF;
  IF NOT COALESCE(p_create, FALSE) THEN
    DO RELEASE_LOCK(v_lock);
    LEAVE creation;
  END IF;

  SELECT MAX(c.longest_life), MAX(c.most_connections) INTO v_life, v_connections FROM hallpass.ceilings c WHERE c.grp = p_group AND c.is_checkout = p_is_checkout;
  IF v_life IS NULL THEN
    SIGNAL SQLSTATE 'HP003' SET MESSAGE_TEXT = 'the installed file does not name this group';
  END IF;
  IF p_life IS NULL OR NOT (p_life BETWEEN {{shortest_life}} AND v_life) THEN
    SIGNAL SQLSTATE 'HP003' SET MESSAGE_TEXT = 'the life is outside what the installed file allows';
  END IF;
  IF p_connections IS NULL OR NOT (p_connections BETWEEN 1 AND v_connections) THEN
    SIGNAL SQLSTATE 'HP003' SET MESSAGE_TEXT = 'the connection limit is outside what the installed file allows';
  END IF;
  -- Never a clear password: it would be in logs.
  IF p_hash IS NULL OR NOT (p_hash REGEXP '{{hash_pattern}}' AND CHAR_LENGTH(p_hash) = {{hash_length}}) THEN
    SIGNAL SQLSTATE 'HP004' SET MESSAGE_TEXT = 'the password is not a hash of the expected form';
  END IF;
  IF p_record IS NULL OR NOT (LEFT(p_record, 1) = '{' AND LENGTH(p_record) <= {{record_bytes}}) THEN
    SIGNAL SQLSTATE 'HP004' SET MESSAGE_TEXT = 'the record is not JSON of at most {{record_bytes}} bytes';
  END IF;
  CALL hallpass.unfit(p_group, p_is_checkout, v_problem);
  IF v_problem IS NOT NULL THEN
    SET v_problem = LEFT(v_problem, 128);
    SIGNAL SQLSTATE 'HP001' SET MESSAGE_TEXT = v_problem;
  END IF;
  SET now = UNIX_TIMESTAMP();
  IF (SELECT COUNT(*) FROM hallpass.accounts) >= {{max_live}} THEN
    SIGNAL SQLSTATE 'HP002' SET MESSAGE_TEXT = 'there are {{max_live}} logins already';
  END IF;
  IF (SELECT COUNT(*) FROM hallpass.leases l WHERE l.holder = p_holder AND l.ends > now AND l.state <> 'gone') >= {{places_per_repository}} THEN
    SIGNAL SQLSTATE 'HP010' SET MESSAGE_TEXT = 'this repository has {{places_per_repository}} live logins already';
  END IF;

  -- The server's clock alone decides. Never a moment earlier than asked.
  SET v_ends = now + p_life + 1;
  SET v_login = CONCAT('{{prefix}}', LOWER(LPAD(CONV(v_ends, 10, 32), 7, '0')), '_', p_random);
  IF NOT (v_login REGEXP '{{pattern}}' AND CHAR_LENGTH(v_login) = {{name_length}}) THEN
    SIGNAL SQLSTATE 'HP005' SET MESSAGE_TEXT = 'that is no name of a lease';
  END IF;
  START TRANSACTION;
  IF p_is_checkout THEN
    BEGIN
      DECLARE EXIT HANDLER FOR 1062
        SIGNAL SQLSTATE 'HP012' SET MESSAGE_TEXT = 'the account is checked out by another job';
      INSERT INTO hallpass.checkouts (account, login) VALUES (p_group, v_login);
    END;
  END IF;
  INSERT INTO hallpass.leases (random, login, ends, made, until, state, grp, account, holder, record)
    VALUES (p_random, v_login, v_ends, now, LEAST(GREATEST(COALESCE(p_until, 0), v_ends), v_ends + {{longest_token}}), 'making', p_group, IF(p_is_checkout, p_group, NULL), p_holder, p_record);
  COMMIT AND NO CHAIN NO RELEASE;
  SET v_is_begun = TRUE;
  IF p_is_checkout THEN
    SET @hallpass_sql = CONCAT('ALTER USER ', QUOTE(p_group), '@''%'' {{with_hash}} REQUIRE {{require}} WITH MAX_USER_CONNECTIONS ', p_connections, ' ACCOUNT UNLOCK');
    PREPARE made FROM @hallpass_sql;
    EXECUTE made;
    DEALLOCATE PREPARE made;
  ELSE
{{create_user}}
    IF (SELECT COUNT(*) FROM hallpass.memberships m WHERE m.member = v_login AND m.member_host = '%') <> 1
        OR NOT EXISTS (SELECT * FROM hallpass.memberships m WHERE m.member = v_login AND m.member_host = '%' AND m.role = p_group AND NOT m.administers) THEN
      SIGNAL SQLSTATE 'HP008' SET MESSAGE_TEXT = 'the login got other roles than it was asked for';
    END IF;
  END IF;
  SET @hallpass_sql = NULL;
  UPDATE hallpass.leases l SET l.state = 'live' WHERE l.random = p_random AND l.login = v_login AND l.state = 'making';
  IF ROW_COUNT() <> 1 THEN
    SIGNAL SQLSTATE 'HP007' SET MESSAGE_TEXT = 'the login was ended while it was made';
  END IF;
  COMMIT AND NO CHAIN NO RELEASE;
  CALL hallpass.found(p_random, TRUE);
  DO RELEASE_LOCK(v_lock);
END
//
-- A login by the part of its name that token and credential give, whatever the expiry in front.
DROP PROCEDURE IF EXISTS hallpass.found
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.found(IN p_random VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_created BOOLEAN)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  SELECT p_created AS created, f.login, f.ends, (f.may_log_in AND f.ends > UNIX_TIMESTAMP()) AS is_usable, f.grp, f.is_checkout, f.record
  FROM (
    SELECT a.login, a.ends, NOT a.is_locked AS may_log_in, (SELECT MIN(m.role) FROM hallpass.memberships m WHERE m.member = a.login AND m.member_host = '%') AS grp,
      0 AS is_checkout, COALESCE((SELECT l.record FROM hallpass.leases l WHERE l.login = a.login), '') AS record
    FROM hallpass.accounts a WHERE a.random = p_random
    UNION ALL
    SELECT l.login, l.ends, l.state = 'live', l.account, 1, l.record
    FROM hallpass.leases l JOIN hallpass.checkouts c ON c.login = l.login WHERE l.random = p_random
  ) f;
END
//
-- The ways out of a lease. None of them touches a name that `mint` could not have made.
DROP PROCEDURE IF EXISTS hallpass.disable
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.disable(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE is_checkout BOOLEAN;
  {{opening}}
  CALL hallpass.account_of(p_login, account, is_checkout);
  IF is_checkout THEN
    CALL hallpass.lock_account(account, TRUE);
  ELSEIF EXISTS (SELECT * FROM hallpass.accounts a WHERE a.login = p_login AND NOT a.is_locked) THEN
    CALL hallpass.lock_account(account, FALSE);
  END IF;
  UPDATE hallpass.leases l SET l.state = 'ending' WHERE l.login = p_login AND l.state IN ('making', 'live');
  COMMIT AND NO CHAIN NO RELEASE;
END
//
-- Ends its sessions on this server, and writes nothing, so that it works on a replica too. The number there were.
DROP PROCEDURE IF EXISTS hallpass.terminate
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.terminate(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE is_checkout BOOLEAN;
  DECLARE ended INT DEFAULT 0;
  {{opening}}
  CALL hallpass.account_of(p_login, account, is_checkout);
  -- Also when the account is gone: a session outlives it.
  CALL hallpass.kill_sessions(COALESCE(account, p_login), ended);
  SELECT ended;
END
//
-- The last step.
DROP PROCEDURE IF EXISTS hallpass.remove
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.remove(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE v_account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE is_checkout BOOLEAN;
  CALL hallpass.account_of(p_login, v_account, is_checkout);
  IF EXISTS (SELECT * FROM {{accounts_table}} u WHERE u.User = v_account AND u.Host = '%' AND NOT {{is_locked}}) THEN
    SIGNAL SQLSTATE 'HP007' SET MESSAGE_TEXT = 'the login can still log in';
  END IF;
  IF EXISTS (SELECT * FROM information_schema.PROCESSLIST p WHERE CAST(p.USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin = COALESCE(v_account, p_login)) THEN
    SIGNAL SQLSTATE 'HP006' SET MESSAGE_TEXT = 'the login still has sessions';
  END IF;
  IF is_checkout THEN
    DELETE FROM hallpass.checkouts WHERE login = p_login;
  ELSEIF v_account IS NOT NULL THEN
    SET @hallpass_sql = CONCAT('DROP USER IF EXISTS ', QUOTE(p_login), '@''%''');
    PREPARE made FROM @hallpass_sql;
    EXECUTE made;
    DEALLOCATE PREPARE made;
    SET @hallpass_sql = NULL;
  END IF;
  UPDATE hallpass.leases l SET l.state = 'gone', l.holder = NULL, l.record = '' WHERE l.login = p_login;
  COMMIT AND NO CHAIN NO RELEASE;
END
//
DROP PROCEDURE IF EXISTS hallpass.drop_login
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.drop_login(IN p_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE ended INT;
  {{opening}}
  CALL hallpass.remove(p_login);
  -- A session that was let in just before the login was locked shows only now.
  CALL hallpass.end_ghosts(ended);
END
//
-- Sessions whose login is gone: they keep the power of their role for as long as they live. And sessions of an
-- account that no job has checked out, unless its sessions may be other ones.
DROP PROCEDURE IF EXISTS hallpass.end_ghosts
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.end_ghosts(OUT p_ended INT)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE is_done BOOLEAN DEFAULT FALSE;
  DECLARE session BIGINT UNSIGNED;
  DECLARE who VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE sessions CURSOR FOR SELECT ID, USER FROM information_schema.PROCESSLIST
    WHERE (CAST(USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin REGEXP '{{pattern}}' AND CHAR_LENGTH(USER) = {{name_length}})
      OR CAST(USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin IN (
        SELECT c.grp FROM hallpass.ceilings c JOIN {{accounts_table}} u ON u.User = c.grp WHERE c.is_checkout
          GROUP BY c.grp HAVING COUNT(*) = 1 AND MIN(u.Host = '%' AND {{is_locked}}));
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET is_done = TRUE;
  DECLARE CONTINUE HANDLER FOR 1094 BEGIN END;
  SET p_ended = 0;
  OPEN sessions;
  every_session: LOOP
    FETCH sessions INTO session, who;
    IF is_done THEN
      LEAVE every_session;
    END IF;
    -- Looked up after the session was seen: a login that exists by now has no ghosts.
    IF NOT EXISTS (SELECT * FROM hallpass.accounts a WHERE a.login = who) AND NOT EXISTS (SELECT * FROM hallpass.checkouts c WHERE c.account = who) THEN
      SET p_ended = p_ended + 1;
      KILL session;
    END IF;
  END LOOP;
  CLOSE sessions;
END
//
DROP PROCEDURE IF EXISTS hallpass.ghosts
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.ghosts()
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE ended INT;
  {{opening}}
  CALL hallpass.end_ghosts(ended);
  SELECT ended;
END
//
-- Logins to sweep: past their end, or locked by a revocation that did not come to its end, or begun and never
-- completed. In the order of their names, beginning after one.
DROP PROCEDURE IF EXISTS hallpass.ended
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.ended(IN p_after VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_most INT)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE now BIGINT;
  {{opening}}
  SET now = UNIX_TIMESTAMP();
  SELECT e.login FROM (
    SELECT a.login FROM hallpass.accounts a WHERE a.ends <= now OR a.is_locked
    UNION SELECT l.login FROM hallpass.leases l WHERE l.state <> 'gone' AND (l.ends <= now OR l.state = 'ending' OR (l.state = 'making' AND l.made < now - {{making_time}}))
  ) e WHERE e.login > p_after ORDER BY e.login LIMIT p_most;
END
//
-- Every lease there is.
DROP PROCEDURE IF EXISTS hallpass.list
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.list()
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE now BIGINT;
  {{opening}}
  SET SESSION group_concat_max_len = 65536;
  SET now = UNIX_TIMESTAMP();
  SELECT f.login, f.ends, f.ends <= now AS is_ended, f.may_log_in, f.grp, f.record, f.is_live,
    COALESCE((SELECT GROUP_CONCAT(p.ID) FROM information_schema.PROCESSLIST p WHERE CAST(p.USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin = f.account), '') AS sessions
  FROM (
    SELECT CAST(a.login AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS login, CAST(a.login AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS account, a.ends, NOT a.is_locked AS may_log_in,
      (SELECT MIN(m.role) FROM hallpass.memberships m WHERE m.member = a.login AND m.member_host = '%') AS grp, COALESCE(l.record, '') AS record,
      COALESCE(l.state IN ('making', 'live'), TRUE) AS is_live
    FROM hallpass.accounts a LEFT JOIN hallpass.leases l ON l.login = a.login
    UNION ALL
    SELECT CAST(l.login AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, l.account, l.ends, l.state = 'live', l.account, l.record, l.state IN ('making', 'live')
    FROM hallpass.leases l JOIN hallpass.checkouts c ON c.login = l.login
  ) f ORDER BY f.login;
END
//
-- Forgets tokens that have expired, a few thousand at a time.
DROP PROCEDURE IF EXISTS hallpass.prune
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.prune()
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  {{opening}}
  DELETE FROM hallpass.leases WHERE state = 'gone' AND until < UNIX_TIMESTAMP() ORDER BY until LIMIT 5000;
  COMMIT AND NO CHAIN NO RELEASE;
END
//
-- Why logins are not made in a group, for `hallpass target check`.
DROP PROCEDURE IF EXISTS hallpass.fitness
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.fitness(IN p_group VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_is_checkout BOOLEAN)
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE problem VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  {{opening}}
  CALL hallpass.unfit(p_group, p_is_checkout, problem);
  SELECT problem;
END
//
-- What else is wrong on the server, for `hallpass target check`: each with what to do.
DROP PROCEDURE IF EXISTS hallpass.problems
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.problems()
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  {{opening}}
  SELECT CONCAT('anonymous account \'\'@', QUOTE(u.Host), ': a lease that connects from there may become it') AS problem, CONCAT('DROP USER \'\'@', QUOTE(u.Host)) AS fix
    FROM mysql.user u WHERE u.User = '' AND {{is_account}}
  UNION ALL SELECT CONCAT('account hallpass_definer@localhost is not locked'), 'ALTER USER hallpass_definer@localhost ACCOUNT LOCK'
    FROM {{accounts_table}} u WHERE u.User = 'hallpass_definer' AND NOT (u.Host = 'localhost' AND {{is_locked}})
  UNION ALL SELECT CONCAT('routine hallpass.', r.ROUTINE_NAME, ' is by ', r.DEFINER, ', not by hallpass_definer@localhost'), 'drop it, and run the file that `hallpass target install` prints'
    FROM information_schema.ROUTINES r WHERE r.ROUTINE_SCHEMA = 'hallpass' AND r.DEFINER <> 'hallpass_definer@localhost'
  UNION ALL SELECT CONCAT('account ', QUOTE(d.User), '@', QUOTE(d.Host), ' has privileges in database hallpass'), 'revoke them: it could change the procedures or the ceilings'
    FROM mysql.db d WHERE 'hallpass' LIKE d.Db AND d.User <> 'hallpass_definer'
  UNION ALL SELECT CONCAT('account ', QUOTE(t.User), '@', QUOTE(t.Host), ' has privileges on table hallpass.', t.Table_name), 'revoke them'
    FROM mysql.tables_priv t WHERE t.Db = 'hallpass' AND t.User <> 'hallpass_definer'
  UNION ALL SELECT CONCAT('database hallpass has a ', found.what, ' that is not from the installed file'), 'drop it, and run the file that `hallpass target install` prints'
    FROM ({{not_ours}}) found;
END
//
DROP PROCEDURE IF EXISTS hallpass.list_ceilings
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.list_ceilings()
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  {{opening}}
  SELECT c.grp, c.is_checkout, c.longest_life, c.most_connections FROM hallpass.ceilings c;
END
//
-- Gives the other one of the broker's two logins a new password, as a hash. Open sessions of that login are of brokers
-- that have not switched yet, or of a thief of its old password.
DROP PROCEDURE IF EXISTS hallpass.set_password
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.set_password(IN p_hash VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, IN p_end_sessions BOOLEAN)
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE v_caller VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT SUBSTRING_INDEX(USER(), '@', 1);
  DECLARE v_other VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT CASE v_caller WHEN '{{broker}}' THEN '{{second}}' WHEN '{{second}}' THEN '{{broker}}' END;
  DECLARE v_sessions INT;
  DECLARE v_problem VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  {{opening}}
  IF v_other IS NULL OR p_hash IS NULL OR NOT (p_hash REGEXP '{{hash_pattern}}' AND CHAR_LENGTH(p_hash) = {{hash_length}}) THEN
    SIGNAL SQLSTATE 'HP005' SET MESSAGE_TEXT = 'that is no hash of a password for the second login of the broker';
  END IF;
  SET v_sessions = (SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE CAST(USER AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin = v_other);
  IF v_sessions > 0 AND NOT COALESCE(p_end_sessions, FALSE) THEN
    SET v_problem = CONCAT(v_other, ' has ', v_sessions, ' open sessions; wait until all brokers have switched, or end them with --end-sessions');
    SIGNAL SQLSTATE 'HP014' SET MESSAGE_TEXT = v_problem;
  END IF;
  SET @hallpass_sql = CONCAT('ALTER USER ', QUOTE(v_other), '@''%'' {{with_hash}}');
  PREPARE made FROM @hallpass_sql;
  EXECUTE made;
  DEALLOCATE PREPARE made;
  CALL hallpass.kill_sessions(v_other, v_sessions);
END
//
-- So that a broker can tell a file it does not know. And the server's kind.
DROP PROCEDURE IF EXISTS hallpass.version
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.version()
READS SQL DATA SQL SECURITY DEFINER
BEGIN
  {{opening}}
  SELECT '{{contract}}' AS contract, VERSION() AS version, CAST(@@GLOBAL.event_scheduler AS CHAR) AS scheduler, @@GLOBAL.max_connections AS connections,
    COALESCE((SELECT e.STATUS FROM information_schema.EVENTS e WHERE e.EVENT_SCHEMA = 'hallpass' AND e.EVENT_NAME = 'dead_man'), '') AS dead_man, UNIX_TIMESTAMP() AS now;
END
//
-- 4. The dead-man switch: ends what is past its end when no broker does -----------------------------------

DROP PROCEDURE IF EXISTS hallpass.reap
//
CREATE DEFINER = hallpass_definer@localhost PROCEDURE hallpass.reap()
MODIFIES SQL DATA SQL SECURITY DEFINER
BEGIN
  DECLARE is_done BOOLEAN DEFAULT FALSE;
  DECLARE v_ended INT;
  DECLARE late BIGINT;
  DECLARE late_login VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE account VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
  DECLARE is_checkout BOOLEAN;
  DECLARE logins CURSOR FOR
    SELECT a.login FROM hallpass.accounts a WHERE a.ends <= late
    UNION SELECT l.login FROM hallpass.leases l JOIN hallpass.checkouts c ON c.login = l.login WHERE l.ends <= late
    LIMIT 1000;
  DECLARE CONTINUE HANDLER FOR NOT FOUND SET is_done = TRUE;
  {{opening}}
  SET late = UNIX_TIMESTAMP() - {{grace}};
  OPEN logins;
  every_login: LOOP
    FETCH logins INTO late_login;
    IF is_done THEN
      LEAVE every_login;
    END IF;
    BEGIN
      -- A broker may be at it, and one login that cannot be ended keeps no other.
      DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
      DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
      CALL hallpass.disable(late_login);
      CALL hallpass.account_of(late_login, account, is_checkout);
      CALL hallpass.kill_sessions(COALESCE(account, late_login), v_ended);
      IF v_ended > 0 THEN
        DO SLEEP(0.1);
      END IF;
      CALL hallpass.remove(late_login);
    END;
  END LOOP;
  CLOSE logins;
  CALL hallpass.end_ghosts(v_ended);
  DELETE FROM hallpass.leases WHERE state = 'gone' AND until < UNIX_TIMESTAMP() ORDER BY until LIMIT 5000;
  COMMIT AND NO CHAIN NO RELEASE;
END
//
DROP EVENT IF EXISTS hallpass.dead_man
//
CREATE DEFINER = hallpass_definer@localhost EVENT hallpass.dead_man ON SCHEDULE EVERY 1 MINUTE DO CALL hallpass.reap()
//
{{grant_calls}}
