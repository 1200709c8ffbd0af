//! The data server, as a library.

pub mod store;
