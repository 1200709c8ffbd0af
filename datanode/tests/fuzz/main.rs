//! Fuzzers of everything that reads what others have written: requests, payloads of DUMP and FUNCTION DUMP, RDB files,
//! the append-only file, configuration files, rules of users, packed values in scripts.
//!
//! Valid inputs are changed at random, with checksums put right afterwards so that the changes get past them. An input
//! may be refused or taken; what is taken must be whole: it is read, changed, written and read again. No input may make
//! the server panic, hang, or allocate out of proportion. How to run them for longer, and how to try a failed input again:
//! `docs/hostile-input.md`.

mod aof;
mod client;
mod exercise;
mod lua;
mod mutate;
mod packed;
mod payload;
mod protocol;
mod rdb;
mod rounds;
mod text;

/// Counts what each thread holds.
#[global_allocator]
static ALLOCATOR: datanode::server::alloc::Allocator = datanode::server::alloc::Allocator;
