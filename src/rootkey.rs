//! The root key ring and what is derived from it, one label each. Not: what the derived keys are for.
