//! The launcher of `hearth-driver` as a program, so that this crate's tests can start VMMs.

use std::process::ExitCode;

fn main() -> ExitCode {
    hearth_driver::launch::main(std::env::args_os().skip(1))
}
