//! What is near, as rules.

use hearth_domain::{not_the_world, world_v6};

use crate::nft::Rule;

/// Refuses what is not the world: this node, other machines, private networks, metadata addresses, and of IPv6 all that
/// is not public.
pub(super) fn near() -> Vec<Rule> {
    let listed = not_the_world().map(|net| match net {
        ipnet::IpNet::V4(_) => Rule::new().to(net).counter().reject(),
        ipnet::IpNet::V6(_) => Rule::new().to(net).reject(),
    });
    let [translated, public] = world_v6();
    let rest = Rule::new().not_to(translated).not_to(public).reject();
    listed.chain([rest]).collect()
}
