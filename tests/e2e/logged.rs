//! A server whose log the test reads.

pub(crate) use lockstead_tests::Logged;
