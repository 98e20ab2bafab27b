#![allow(dead_code)]
mod checker;
mod fault;
mod history;
mod plan;

fn main() {}
