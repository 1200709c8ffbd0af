//! The operator for RedisReplicaSet.
//!
//! `operator` runs it, `operator crd` prints the CustomResourceDefinition, `operator version` its version.

mod crd;
mod decide;
mod render;
mod snapshot;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("crd") => print!("{}", crd::definition::yaml()),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}
