//! The kernel command line's `ip=`, by the kernel's own syntax; without it, the machine's fixed private link.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::network::Addresses;

/// The same in every machine, so that a snapshot restores anywhere.
const PRIVATE_LINK: Addresses = Addresses {
    address: Ipv4Addr::new(169, 254, 0, 2),
    prefix: 30,
    gateway: Some(Ipv4Addr::new(169, 254, 0, 1)),
    address6: Some(Ipv6Addr::new(0xfd68, 0x6561, 0x7274, 0, 0, 0, 0, 2)),
    gateway6: Some(Ipv6Addr::new(0xfd68, 0x6561, 0x7274, 0, 0, 0, 0, 1)),
};

/// `ip=<client>:<server>:<gateway>:<netmask>:<host name>:<device>:<autoconf>…` or the private link.
pub(super) fn addresses(cmdline: &str) -> Result<Addresses, String> {
    let Some(value) = cmdline
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("ip="))
    else {
        return Ok(PRIVATE_LINK);
    };
    let mut fields = value.split(':');
    let mut next = || fields.next().unwrap_or_default();
    let (client, _server, gateway, netmask) = (next(), next(), next(), next());
    let address = client
        .parse()
        .map_err(|_| format!("`{client}` is no client address; only static addresses are supported"))?;
    let gateway = match gateway {
        "" => None,
        text => Some(text.parse().map_err(|_| format!("`{text}` is no gateway address"))?),
    };
    Ok(Addresses {
        address,
        prefix: prefix(netmask)?,
        gateway,
        address6: None,
        gateway6: None,
    })
}

fn prefix(netmask: &str) -> Result<u8, String> {
    if netmask.is_empty() {
        return Ok(24);
    }
    let bits = netmask
        .parse::<Ipv4Addr>()
        .map_err(|_| format!("`{netmask}` is no netmask"))?
        .to_bits();
    let ones = bits.leading_ones();
    if bits.count_ones() != ones {
        return Err(format!("`{netmask}` is no netmask: its ones are not together"));
    }
    u8::try_from(ones).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ip_the_private_link() {
        assert_eq!(addresses("console=ttyS0 quiet").unwrap(), PRIVATE_LINK);
    }

    #[test]
    fn static_addresses() {
        let bridge = addresses("quiet ip=172.16.0.5::172.16.0.1:255.255.255.0::eth0:off").unwrap();
        assert_eq!((bridge.address, bridge.prefix), ("172.16.0.5".parse().unwrap(), 24));
        assert_eq!(bridge.gateway, Some("172.16.0.1".parse().unwrap()));
        assert_eq!(addresses("ip=10.0.0.2").unwrap().gateway, None);
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for bad in ["ip=dhcp", "ip=1.2.3.4:::255.0.255.0", "ip=1.2.3.4::x", "ip="] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }
}
