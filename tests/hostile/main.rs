//! Clients that mean harm, and what a server does about it: its memory is bounded, others are served.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod attacked;
mod crowd;
mod floods;
mod full;
mod fuzz;
mod openapi;
mod oversize;
mod slow;
mod unread;
