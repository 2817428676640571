//! The condition language.
