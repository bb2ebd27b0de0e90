//! How a machine is told to end when its agent's port does not answer: Ctrl-Alt-Del and the ACPI power button.
//!
//! Ctrl-Alt-Del reaches PID 1 as a signal. The button is an event of the kernel's ACPI, which is broadcast by generic netlink:
//! it needs the `button` driver, but no input devices.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::netlink::{self as protocol, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::Agent;
use crate::netlink::{HEADER_BYTES, NLM_F_REQUEST, attribute, attributes, message, u16_at, u32_at};
use crate::process::pipe::Pipe;
use crate::shutdown;

/// For the workload. The host waits 5 s after it pressed the button, and the disks still want to be written.
const WORKLOAD_TIMEOUT: Duration = Duration::from_secs(3);

/// Longer than any answer or event; the kernel cuts the rest off.
const BUFFER_BYTES: usize = 8192;

// From the kernel's headers: generic netlink and its controller, which knows the other families.
const GENL_ID_CTRL: u16 = 0x10;
const GENL_HEADER_BYTES: usize = 4;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

// From the kernel's drivers/acpi/event.c and drivers/acpi/button.c.
const ACPI_FAMILY: &[u8] = b"acpi_event\0";
const ACPI_GROUP: &[u8] = b"acpi_mc_group\0";
const ACPI_GENL_ATTR_EVENT: u16 = 1;
const POWER_BUTTON_CLASS: &[u8] = b"button/power\0";
/// `struct acpi_genl_event`: class, bus ID, type, data.
const EVENT_TYPE_AT: usize = 36;
const PRESSED: u32 = 0x80;

/// Ends the machine once it is told to by Ctrl-Alt-Del, a signal or the power button.
pub(crate) async fn end_when_told(agent: Rc<Agent>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let why = tokio::select! {
        // What a plain `reboot` or `poweroff` in the guest sends differs between images.
        _ = interrupt.recv() => "Ctrl-Alt-Del",
        _ = terminate.recv() => "SIGTERM",
        () = power_button() => "the power button",
    };
    crate::console(&format!("told to end by {why}"));
    shutdown::stop_workload(&agent, 0, WORKLOAD_TIMEOUT).await;
    shutdown::schedule_reset(&agent);
}

/// Returns when the button is pressed; never in a guest that has none.
async fn power_button() {
    let heard = match listen() {
        Ok(Some(events)) => pressed(&events).await,
        // A kernel without ACPI.
        Ok(None) => return pending().await,
        Err(error) => Err(error),
    };
    if let Err(error) = heard {
        crate::console(&format!("cannot listen to the power button: {error}"));
        pending::<()>().await;
    }
}

async fn pressed(events: &Pipe) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match events.read(&mut buffer).await {
            Ok(length) if is_press(&buffer[..length.min(BUFFER_BYTES)]) => return Ok(()),
            Ok(_) => {}
            // Events were lost, of which none needs to have been ours.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a message of ACPI's family says that the power button was pressed.
fn is_press(message: &[u8]) -> bool {
    let body = message.get(HEADER_BYTES + GENL_HEADER_BYTES..).unwrap_or_default();
    attributes(body).any(|(kind, event)| {
        kind == ACPI_GENL_ATTR_EVENT
            && event.starts_with(POWER_BUTTON_CLASS)
            && u32_at(event, EVENT_TYPE_AT) == Some(PRESSED)
    })
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let generic = Some(protocol::GENERIC);
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, generic)
}

/// A socket on which ACPI's events arrive; `None` where the kernel has no ACPI.
fn listen() -> io::Result<Option<Pipe>> {
    let Some(group) = acpi_group()? else { return Ok(None) };
    // The groups of a bound address are a mask, which has the early ones: ACPI's is made before any driver's.
    let mask = group.checked_sub(1).and_then(|bit| 1_u32.checked_shl(bit));
    let mask = mask.ok_or_else(|| io::Error::other(format!("ACPI's group of events has number {group}")))?;
    let socket = socket()?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, mask))?;
    Pipe::new(socket).map(Some)
}

/// Asks the kernel for the number of ACPI's group of events.
fn acpi_group() -> io::Result<Option<u32>> {
    let mut payload = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    attribute(&mut payload, CTRL_ATTR_FAMILY_NAME, ACPI_FAMILY);
    let request = message(GENL_ID_CTRL, NLM_F_REQUEST, 1, &payload);
    let socket = socket()?;
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut reply = [0; BUFFER_BYTES];
    // The kernel answers before the request returns, so there is nothing to wait for.
    let (_, length) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::DONTWAIT)?;
    Ok(group_in(&reply[..length.min(BUFFER_BYTES)]))
}

/// The number of ACPI's group in the description of its family; `None` in an error, which says that there is no such family.
fn group_in(reply: &[u8]) -> Option<u32> {
    if u16_at(reply, 4) != Some(GENL_ID_CTRL) {
        return None;
    }
    let family = reply.get(HEADER_BYTES + GENL_HEADER_BYTES..)?;
    let (_, groups) = attributes(family).find(|(kind, _)| *kind == CTRL_ATTR_MCAST_GROUPS)?;
    attributes(groups).find_map(|(_, group)| {
        let value = |wanted| attributes(group).find_map(|(kind, value)| (kind == wanted).then_some(value));
        (value(CTRL_ATTR_MCAST_GRP_NAME)? == ACPI_GROUP)
            .then(|| u32_at(value(CTRL_ATTR_MCAST_GRP_ID)?, 0))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(parts: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, value) in parts {
            attribute(&mut bytes, *kind, value);
        }
        bytes
    }

    fn event(class: &[u8], kind: u32) -> Vec<u8> {
        let mut event = class.to_vec();
        event.resize(20, 0);
        event.extend_from_slice(b"PNP0C0C:00\0");
        event.resize(EVENT_TYPE_AT, 0);
        event.extend_from_slice(&kind.to_ne_bytes());
        event.extend_from_slice(&1_u32.to_ne_bytes());
        let mut payload = vec![1, 1, 0, 0];
        payload.extend(nested(&[(ACPI_GENL_ATTR_EVENT, &event)]));
        message(24, 0, 0, &payload)
    }

    #[test]
    fn only_the_power_button_is_a_press() {
        assert!(is_press(&event(b"button/power", PRESSED)));
        assert!(!is_press(&event(b"button/sleep", PRESSED)));
        assert!(!is_press(&event(b"button/power", 2)));
        let whole = event(b"button/power", PRESSED);
        for length in 0..whole.len() - 4 {
            assert!(!is_press(&whole[..length]), "{length}");
        }
    }

    #[test]
    fn finds_the_group_among_others() {
        let group = |name: &[u8], id: u32| nested(&[(1, name), (2, &id.to_ne_bytes())]);
        let groups = nested(&[(1, &group(b"other\0", 3)), (2, &group(ACPI_GROUP, 5))]);
        let mut payload = vec![1, 2, 0, 0];
        payload.extend(nested(&[
            (CTRL_ATTR_FAMILY_NAME, ACPI_FAMILY),
            (CTRL_ATTR_MCAST_GROUPS, &groups),
        ]));
        assert_eq!(group_in(&message(GENL_ID_CTRL, 0, 1, &payload)), Some(5));
        assert_eq!(group_in(&message(crate::netlink::NLMSG_ERROR, 0, 1, &payload)), None);
        assert_eq!(group_in(&[]), None);
    }

    #[test]
    fn this_kernel_answers() {
        // Whether it has ACPI is another matter.
        if let Err(error) = acpi_group() {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        }
    }
}
