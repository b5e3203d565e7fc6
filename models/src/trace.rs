//! A run, told so that a person can follow it.
