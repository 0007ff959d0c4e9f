//! Used tokens in this process's memory: refuses when full, forgets at a restart.
