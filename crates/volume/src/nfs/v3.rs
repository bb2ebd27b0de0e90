//! The procedures of NFS version 3.

use super::{
    Credentials, Export, change, folders, look, make,
    rpc::Refusal,
    status::{Failure, NOTSUPP, OK},
    xdr::{Reader, Writer},
};

/// What a procedure has to do its work.
pub(super) struct Context<'a> {
    pub(super) exports: &'a [Export],
    pub(super) credentials: &'a Credentials,
}

/// A procedure reads its arguments, and writes what follows the status of a success.
type Done = Result<(), Failure>;

pub(super) fn answer(
    procedure: u32,
    mut arguments: Reader<'_>,
    credentials: &Credentials,
    exports: &[Export],
    out: &mut Writer,
) -> Result<(), Refusal> {
    if procedure == 0 {
        return Ok(());
    }
    let context = Context { exports, credentials };
    let from = out.len();
    out.u32(OK);
    match carry_out(procedure, &context, &mut arguments, out)? {
        Ok(()) => Ok(()),
        Err(Failure::Garbage) => Err(Refusal::Garbage),
        Err(Failure::Status(status)) => {
            out.truncate(from);
            out.u32(status).absent(words_of_failure(procedure));
            Ok(())
        }
    }
}

fn carry_out(
    procedure: u32,
    context: &Context<'_>,
    arguments: &mut Reader<'_>,
    out: &mut Writer,
) -> Result<Done, Refusal> {
    Ok(match procedure {
        1 => look::attributes(context, arguments, out),
        2 => change::set_attributes(context, arguments, out),
        3 => look::lookup(context, arguments, out),
        4 => look::access(context, arguments, out),
        5 => look::read_link(context, arguments, out),
        6 => look::read(context, arguments, out),
        7 => change::write(context, arguments, out),
        8 => make::create(context, arguments, out),
        9 => make::make_folder(context, arguments, out),
        10 => make::link_by_name(context, arguments, out),
        // MKNOD: devices, sockets and pipes are not for sharing.
        11 => Err(NOTSUPP),
        12 => change::remove(context, arguments, out),
        13 => change::remove_folder(context, arguments, out),
        14 => change::rename(context, arguments, out),
        15 => make::link(context, arguments, out),
        16 => folders::list(context, arguments, out),
        17 => folders::list_with_attributes(context, arguments, out),
        18 => look::usage(context, arguments, out),
        19 => look::abilities(context, arguments, out),
        20 => look::path_limits(context, arguments, out),
        21 => change::commit(context, arguments, out),
        _ => return Err(Refusal::NoProcedure),
    })
}

/// What follows the status of a failure are attributes, of which none are given: one word each.
fn words_of_failure(procedure: u32) -> usize {
    match procedure {
        1 => 0,
        2 | 7..=13 | 21 => 2,
        14 => 4,
        15 => 3,
        _ => 1,
    }
}
