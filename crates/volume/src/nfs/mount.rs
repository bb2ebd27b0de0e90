//! The MOUNT protocol: by it a guest gets the handle of a volume's root. Nobody keeps a list of who has mounted what.

use super::{
    Export,
    mark::handle_of,
    rpc::Refusal,
    status::{ACCES, Failure, NOENT, OK},
    xdr::{Reader, Writer},
};

const PATH_MAX: usize = 1024;
const AUTH_SYS: u32 = 1;

pub(super) fn answer(
    procedure: u32,
    mut arguments: Reader<'_>,
    exports: &[Export],
    out: &mut Writer,
) -> Result<(), Refusal> {
    match procedure {
        // NULL, UMNT, UMNTALL: nothing to do.
        0 | 3 | 4 => {}
        1 => {
            let path = arguments.opaque(PATH_MAX)?;
            match root(path, exports) {
                Ok(handle) => out.u32(OK).opaque(&handle).u32(1).u32(AUTH_SYS),
                Err(Failure::Status(status)) => out.u32(status),
                Err(Failure::Garbage) => return Err(Refusal::Garbage),
            };
        }
        // DUMP, EXPORT: nothing is told.
        2 | 5 => {
            out.u32(0);
        }
        _ => return Err(Refusal::NoProcedure),
    }
    Ok(())
}

/// The handle of the root of a volume, whose path is `/` and its ID. What is not this guest's is not there.
fn root(path: &[u8], exports: &[Export]) -> Result<Vec<u8>, Failure> {
    let name = path.strip_prefix(b"/").and_then(|name| str::from_utf8(name).ok());
    let id = name.and_then(|name| name.parse().ok()).ok_or(NOENT)?;
    let folder = exports.iter().find(|folder| folder.id() == id).ok_or(ACCES)?;
    folder.check_there()?;
    handle_of(folder, folder.root())
}
