//! ONC RPC version 2 (RFC 5531): calls and the frames of their answers.

use super::{
    Credentials, Export, mark, mount,
    status::Failure,
    v3,
    xdr::{Garbage, Reader, Writer},
};

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_SYS: u32 = 1;
/// The longest credentials, in bytes.
const AUTH_MAX: usize = 400;
const GROUPS_MAX: u32 = 16;
const MACHINE_NAME_MAX: usize = 255;
const NFS: u32 = 100_003;
const MOUNT: u32 = 100_005;
/// Of both programs.
const VERSION: u32 = 3;

/// `accept_stat`.
const SUCCESS: u32 = 0;
const PROGRAM_UNAVAILABLE: u32 = 1;
const PROGRAM_MISMATCH: u32 = 2;
const PROCEDURE_UNAVAILABLE: u32 = 3;
const GARBAGE_ARGUMENTS: u32 = 4;

/// One call, read.
struct Call<'a> {
    program: u32,
    version: u32,
    procedure: u32,
    credentials: Credentials,
    arguments: Reader<'a>,
}

/// Answers one call. None where it is none, which ends the connection.
pub(super) fn answer(message: &[u8], exports: &[Export]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(message);
    let xid = reader.u32().ok()?;
    if reader.u32() != Ok(CALL) {
        return None;
    }
    if reader.u32() != Ok(RPC_VERSION) {
        return Some(denied(xid));
    }
    let call = read(reader).ok()?;
    let mut out = accepted(xid, SUCCESS);
    let done = match (call.program, call.version) {
        (NFS, VERSION) => v3::answer(call.procedure, call.arguments, &call.credentials, exports, &mut out),
        (MOUNT, VERSION) => mount::answer(call.procedure, call.arguments, exports, &mut out),
        (NFS | MOUNT, _) => {
            let mut out = accepted(xid, PROGRAM_MISMATCH);
            out.u32(VERSION).u32(VERSION);
            return Some(out.0);
        }
        _ => return Some(accepted(xid, PROGRAM_UNAVAILABLE).0),
    };
    match done {
        Ok(()) => Some(out.0),
        Err(Refusal::NoProcedure) => Some(accepted(xid, PROCEDURE_UNAVAILABLE).0),
        Err(Refusal::Garbage) => Some(accepted(xid, GARBAGE_ARGUMENTS).0),
    }
}

/// The volume of the file that a call names first, whether it may or not. Each procedure of NFS but one begins with a file.
pub(super) fn meant<'a>(message: &[u8], exports: &'a [Export]) -> Option<&'a Export> {
    let mut reader = Reader::new(message);
    // Its number, its kind, and the version of RPC.
    for _ in 0..3 {
        reader.u32().ok()?;
    }
    let mut call = read(reader).ok().filter(|call| call.program == NFS)?;
    let volume = mark::volume_of(call.arguments.opaque(mark::FH_MAX).ok()?)?;
    exports.iter().find(|folder| folder.id() == volume)
}

/// Why a call was not carried out at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NoProcedure,
    Garbage,
}

impl From<Garbage> for Refusal {
    fn from(_: Garbage) -> Self {
        Self::Garbage
    }
}

impl From<Failure> for Refusal {
    fn from(_: Failure) -> Self {
        Self::Garbage
    }
}

fn read(mut reader: Reader<'_>) -> Result<Call<'_>, Garbage> {
    let (program, version, procedure) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let flavour = reader.u32()?;
    let body = reader.opaque(AUTH_MAX)?;
    let credentials = if flavour == AUTH_SYS {
        read_credentials(body)?
    } else {
        // Nobody in particular.
        Credentials {
            uid: u32::from(u16::MAX) - 1,
            gid: u32::from(u16::MAX) - 1,
            gids: Vec::new(),
        }
    };
    let _ = (reader.u32()?, reader.opaque(AUTH_MAX)?);
    Ok(Call {
        program,
        version,
        procedure,
        credentials,
        arguments: reader,
    })
}

fn read_credentials(body: &[u8]) -> Result<Credentials, Garbage> {
    let mut reader = Reader::new(body);
    let _stamp = reader.u32()?;
    let _machine = reader.opaque(MACHINE_NAME_MAX)?;
    let (uid, gid, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
    // The last of all numbers is nobody: files that were made would be root's.
    if count > GROUPS_MAX || [uid, gid].contains(&u32::MAX) {
        return Err(Garbage);
    }
    let gids = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
    Ok(Credentials { uid, gid, gids })
}

fn accepted(xid: u32, status: u32) -> Writer {
    let mut out = Writer::default();
    // Accepted, and a verifier that says nothing.
    out.u32(xid).u32(REPLY).u32(0).u32(0).u32(0).u32(status);
    out
}

fn denied(xid: u32) -> Vec<u8> {
    let mut out = Writer::default();
    // Another version of RPC.
    out.u32(xid).u32(REPLY).u32(1).u32(0).u32(RPC_VERSION).u32(RPC_VERSION);
    out.0
}
