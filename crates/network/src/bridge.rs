//! Bridge mode: taps of the host on one bridge, each guest with an address of the bridge's network, given to it on the
//! kernel's command line. For plain setups; such guests differ, so they share no template.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::Ipv4Net;

use crate::{
    address::{InstanceId, MacAddr},
    link::{Links, overlap},
    policy::BridgePort,
    site::nth_address,
    slot::{NetworkError, TapOwner},
    sysctl, tap,
};

/// The bridge, made when a machine first asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Its name on the host.
    pub name: String,
    /// Its network; the bridge has the first address.
    pub subnet: Ipv4Net,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: "fc-bridge0".into(),
            subnet: Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 24),
        }
    }
}

impl BridgeConfig {
    fn alias(instance: &InstanceId) -> String {
        format!("hearth-{instance}")
    }

    fn refused(&self, reason: impl Into<String>) -> NetworkError {
        NetworkError::Bridge {
            name: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// The bridge's own address.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        nth_address(self.subnet, 1)
    }

    /// The guest of this number.
    pub(crate) fn port(&self, instance: &InstanceId, index: u32) -> Result<BridgePort, NetworkError> {
        let address = nth_address(self.subnet, index + 2).ok_or_else(|| {
            self.refused(format!(
                "its network {} has no address left: configure a larger one",
                self.subnet
            ))
        })?;
        let [_, _, high, low] = index.to_be_bytes();
        Ok(BridgePort {
            tap: instance.bridge_tap_name(index),
            mac: [0x02, 0x48, 0x45, 0x03, high, low],
            address,
        })
    }

    /// What the guest's kernel command line must say.
    pub(crate) fn kernel_ip(&self, port: &BridgePort) -> String {
        let gateway = self.gateway().unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!("ip={}::{gateway}:{}::eth0:off", port.address, self.subnet.netmask())
    }

    /// Makes the bridge if it is not there.
    pub(crate) fn ensure(&self, instance: &InstanceId) -> Result<(), NetworkError> {
        let step = NetworkError::at(format!("make the bridge {}", self.name));
        let alias = Self::alias(instance);
        let mut links = Links::open().map_err(NetworkError::at("list the interfaces"))?;
        match links
            .find(&self.name)
            .map_err(NetworkError::at("list the interfaces"))?
        {
            Some(link) if link.alias.as_ref() == Some(&alias) => {}
            Some(_) => return Err(self.refused("there is an interface of that name already: configure another name")),
            None => {
                self.check_subnet(&mut links)?;
                links
                    .add_bridge(&self.name, &alias)
                    .map_err(NetworkError::at(format!("add {}", self.name)))?;
            }
        }
        let gateway = self
            .gateway()
            .ok_or_else(|| self.refused("its network has no address: configure a larger one"))?;
        let mut finish = || -> io::Result<()> {
            let index = links.index_of(&self.name)?;
            links.set_up(index)?;
            links.add_address(index, gateway.into(), self.subnet.prefix_len())?;
            sysctl::write(&format!("ipv4/conf/{}/route_localnet", self.name), "1")
        };
        finish().map_err(step)
    }

    fn check_subnet(&self, links: &mut Links) -> Result<(), NetworkError> {
        let routes = links.ipv4_routes().map_err(NetworkError::at("list the routes"))?;
        match routes.iter().find(|(net, _)| overlap(*net, self.subnet)) {
            Some((net, _)) => Err(self.refused(format!(
                "its network {} overlaps with this host's {net}: configure another",
                self.subnet
            ))),
            None => Ok(()),
        }
    }

    /// Makes the guest's tap and plugs it in.
    pub(crate) fn plug(&self, port: &BridgePort, owner: TapOwner) -> Result<(), NetworkError> {
        let plug = || -> io::Result<()> {
            tap::make_persistent(&port.tap)?;
            tap::set_owner(&port.tap, owner.uid, owner.gid)?;
            let mut links = Links::open()?;
            let (index, bridge) = (links.index_of(&port.tap)?, links.index_of(&self.name)?);
            links.attach_isolated(index, bridge)?;
            links.set_up(index)?;
            links.add_neighbour(bridge, IpAddr::V4(port.address), port.mac)
        };
        plug().map_err(NetworkError::at(format!("plug {} into {}", port.tap, self.name)))
    }

    /// Finds the tap of a guest that was plugged in before; or plugs it in anew, for a machine that slept while the host was
    /// restarted: its address is within its guest.
    pub(crate) fn find_or_plug(
        &self,
        instance: &InstanceId,
        port: &BridgePort,
        owner: TapOwner,
    ) -> Result<(), NetworkError> {
        self.ensure(instance)?;
        let found = Links::open().and_then(|mut links| links.find(&port.tap));
        match found.map_err(NetworkError::at(format!("find the tap {}", port.tap)))? {
            Some(_) => Ok(()),
            None => self.plug(port, owner),
        }
    }

    /// Takes the bridge away if it is this instance's.
    pub(crate) fn remove(&self, instance: &InstanceId) -> Result<(), NetworkError> {
        let remove = || -> io::Result<()> {
            let mut links = Links::open()?;
            match links.find(&self.name)? {
                Some(link) if link.alias == Some(Self::alias(instance)) => links.delete(&self.name),
                _ => Ok(()),
            }
        };
        remove().map_err(NetworkError::at(format!("remove the bridge {}", self.name)))
    }
}

impl BridgePort {
    pub(crate) fn mac(&self) -> MacAddr {
        MacAddr(self.mac)
    }

    /// Takes the guest's tap away.
    pub(crate) fn unplug(&self) -> Result<(), NetworkError> {
        let unplug = Links::open().and_then(|mut links| links.delete(&self.tap));
        unplug.map_err(NetworkError::at(format!("remove the tap {}", self.tap)))
    }
}
