//! `/metrics` counts what happened, exactly; and what is built on it names nothing that is not there.

mod holds;
mod pages;
mod redis;
mod requests;
mod scrape;
mod sessions;
