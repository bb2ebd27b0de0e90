//! The launcher as a program of its own, for tests and for whoever embeds a driver without the `hearth` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    hearth_driver::launch::main(std::env::args_os().skip(1))
}
