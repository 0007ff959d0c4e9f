//! The settings file to typed settings, once. With client/source the only reader of the environment.
