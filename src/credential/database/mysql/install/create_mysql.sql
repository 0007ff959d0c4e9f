    SET @hallpass_sql = CONCAT('CREATE USER ', QUOTE(v_login), '@''%'' {{with_hash}} DEFAULT ROLE ', QUOTE(p_group), '@''%'' REQUIRE {{require}} WITH MAX_USER_CONNECTIONS ', p_connections, ' PASSWORD EXPIRE NEVER ACCOUNT UNLOCK');
    PREPARE made FROM @hallpass_sql;
    EXECUTE made;
    DEALLOCATE PREPARE made;
