use proptest::prelude::*;

use super::*;

fn rules(allow: &[&str], deny: &[&str]) -> EgressRules {
    EgressRules::parse(allow, deny).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_is_forbidden_by_default() {
    let open = EgressRules::default();
    assert!(open.is_open() && !open.denies_all() && !open.has_domains());
    assert!(open.permits(ip("198.51.100.1")) && open.permits(ip("2001:db8::1")) && open.permits_name("example.com"));
}

#[test]
fn what_is_allowed_beats_what_is_denied() {
    let rules = rules(&["192.0.2.1", "198.51.100.0/25"], &["192.0.2.0/24", "198.51.100.0/24"]);
    for (address, permitted) in [
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("198.51.100.127", true),
        ("198.51.100.128", false),
        ("203.0.113.1", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(rules.permits(ip(address)), permitted, "{address}");
    }
}

#[test]
fn all_denied_is_ipv6_too_and_no_way_around_by_nat64() {
    let closed = rules(&["192.0.2.1"], &["0.0.0.0/0"]);
    assert!(closed.permits(ip("192.0.2.1")) && closed.permits(ip("64:ff9b::c000:201")));
    for address in ["192.0.2.2", "2001:db8::1", "64:ff9b::c000:202"] {
        assert!(!closed.permits(ip(address)), "{address}");
    }
    assert!(!rules(&[], &["192.0.2.0/24"]).permits(ip("64:ff9b::c000:202")));
    assert!(rules(&[], &["::/0"]).permits(ip("192.0.2.1")), "that is IPv6 alone");
    // What a program calls an IPv4 address.
    assert!(!rules(&[], &["::ffff:192.0.2.0/120"]).permits(ip("192.0.2.1")));
}

#[test]
fn no_internet_is_all_denied_but_what_is_allowed() {
    let none: [&str; 0] = [];
    let closed = EgressRules::parse_without_internet(&none, &none).unwrap();
    assert_eq!(closed, rules(&[], &["0.0.0.0/0"]));
    assert!(!closed.permits_name("example.com"));
    let some = EgressRules::parse_without_internet(&["example.com"], &["0.0.0.0/0", "192.0.2.1"]).unwrap();
    assert_eq!(some, rules(&["example.com"], &["0.0.0.0/0", "192.0.2.1"]));
    // What is kept can be read again.
    let full = vec!["192.0.2.1"; EGRESS_ENTRIES_MAX];
    assert!(EgressRules::parse_without_internet(&none, &full).is_err());
}

#[test]
fn domains_match_whole_labels() {
    let rules = rules(&["Example.com", "*.example.org."], &["0.0.0.0/0"]);
    for name in ["example.com", "EXAMPLE.com.", "a.example.org", "a.b.example.org"] {
        assert!(rules.permits_name(name), "{name}");
    }
    for name in [
        "a.example.com",
        "xexample.com",
        "example.org",
        ".example.org",
        "aexample.org",
        "example.com.evil",
        "",
        "é.org",
    ] {
        assert!(!rules.permits_name(name), "{name}");
    }
    assert!(!rules.permits(ip("192.0.2.1")), "a name opens no address");
}

#[test]
fn domains_need_all_else_denied() {
    for deny in [&[][..], &["192.0.2.0/24"], &["::/0"]] {
        let error = EgressRules::parse(&["192.0.2.1", "example.com"], deny).unwrap_err();
        assert!(matches!(&error, InvalidEgress::DomainsWithoutDeny { domain } if domain == "example.com"));
        assert!(error.to_string().contains("add 0.0.0.0/0 to denyOut"), "{error}");
    }
}

#[test]
fn an_entry_that_cannot_be_is_named_with_the_way_out() {
    for (entry, named) in [
        ("192.0.2.0/33", "CIDR"),
        ("example.com/24", "CIDR"),
        ("https://example.com", "without scheme"),
        ("example.com:443", "without scheme, port"),
        ("exämple.com", "xn--"),
        ("*", "0.0.0.0/0"),
        ("a.*.com", "first label"),
        ("192.0.2", "number"),
        ("a..b", "labels"),
        ("", "labels"),
        ("-a.com", "labels"),
    ] {
        let error = EgressRules::parse(&["1.1.1.1", entry], &["0.0.0.0/0"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("allowOut[1]") && error.contains(&format!("{entry:?}")) && error.contains(named),
            "{error}"
        );
    }
    let error = EgressRules::parse::<&str, _>(&[], &["example.com"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("denyOut[0] \"example.com\"") && error.contains("allowOut"),
        "{error}"
    );
    let many = vec!["192.0.2.1"; EGRESS_ENTRIES_MAX + 1];
    let error = EgressRules::parse::<&str, _>(&[], &many).unwrap_err().to_string();
    assert!(error.contains("denyOut has 1001"), "{error}");
    let long = "x".repeat(10_000);
    assert!(
        EgressRules::parse::<_, &str>(&[long], &[])
            .unwrap_err()
            .to_string()
            .len()
            < 400
    );
}

#[test]
fn rules_read_back_and_are_checked_when_they_do() {
    let rules = rules(
        &["192.0.2.1", "10.1.2.3/8", "*.example.com"],
        &["0.0.0.0/0", "2001:db8::/32"],
    );
    let text = serde_json::to_string(&rules).unwrap();
    assert_eq!(
        text,
        r#"{"allow":["192.0.2.1/32","10.0.0.0/8","*.example.com"],"deny":["0.0.0.0/0","2001:db8::/32"]}"#
    );
    assert_eq!(serde_json::from_str::<EgressRules>(&text).unwrap(), rules);
    assert_eq!(
        serde_json::from_str::<EgressRules>("{}").unwrap(),
        EgressRules::default()
    );
    assert!(serde_json::from_str::<EgressRules>(r#"{"allow":["example.com"]}"#).is_err());
}

fn net() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0_u8..=32)
        .prop_map(|(bits, length)| IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap().trunc()));
    let v6 = (any::<u128>(), 0_u8..=128)
        .prop_map(|(bits, length)| IpNet::V6(Ipv6Net::new(bits.into(), length).unwrap().trunc()));
    prop_oneof![v4, v6]
}

fn texts(nets: &[IpNet]) -> Vec<String> {
    nets.iter().map(ToString::to_string).collect()
}

proptest! {
    #[test]
    fn each_address_is_judged_by_the_lists(
        allow in prop::collection::vec(net(), 0..6),
        deny in prop::collection::vec(net(), 0..6),
        other in any::<u32>(),
        pick in any::<prop::sample::Index>(),
    ) {
        let rules = EgressRules::parse(&texts(&allow), &texts(&deny)).unwrap();
        let mut addresses = vec![IpAddr::V4(other.into())];
        addresses.extend(allow.iter().chain(&deny).flat_map(|net| [net.network(), net.broadcast()]));
        let address = *pick.get(&addresses);
        let all = deny.iter().any(|net| net.to_string() == "0.0.0.0/0");
        // Addresses of NAT64 have a test of their own, and chance does not hit them.
        let denied = deny.iter().any(|net| net.contains(&address)) || (all && address.is_ipv6());
        let allowed = allow.iter().any(|net| net.contains(&address));
        prop_assert_eq!(rules.permits(address), allowed || !denied, "{}", address);
    }

    #[test]
    fn nat64_is_judged_as_the_address_within(
        allow in prop::collection::vec(any::<(u32, u8)>(), 0..4),
        deny in prop::collection::vec(any::<(u32, u8)>(), 0..4),
        other in any::<u32>(),
    ) {
        let nets = |list: &[(u32, u8)]| -> Vec<IpNet> {
            list.iter().map(|(bits, length)| IpNet::V4(Ipv4Net::new((*bits).into(), length % 33).unwrap())).collect()
        };
        let rules = EgressRules::parse(&texts(&nets(&allow)), &texts(&nets(&deny))).unwrap();
        for bits in allow.iter().chain(&deny).map(|(bits, _)| *bits).chain([other]) {
            let v6 = Ipv6Addr::from(u128::from(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0)) | u128::from(bits));
            prop_assert_eq!(rules.permits(IpAddr::V4(bits.into())), rules.permits(v6.into()));
        }
    }

    #[test]
    fn a_pattern_reads_back_and_meets_names_below_it(name in "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}", label in "[a-z]{1,5}") {
        let exact: DomainPattern = name.parse().unwrap();
        let below: DomainPattern = format!("*.{name}").parse().unwrap();
        prop_assert_eq!(&exact.to_string().parse::<DomainPattern>().unwrap(), &exact);
        let deeper = format!("{label}.{name}");
        prop_assert!(exact.matches(&name) && !exact.matches(&deeper));
        prop_assert!(below.matches(&deeper) && !below.matches(&name));
        let glued = format!("{label}{name}");
        prop_assert!(!below.matches(&glued) && !exact.matches(&glued));
    }

    #[test]
    fn reading_rules_never_panics(allow in prop::collection::vec(".{0,40}", 0..4), deny in prop::collection::vec(".{0,40}", 0..4), name in ".{0,40}") {
        if let Ok(rules) = EgressRules::parse(&allow, &deny) {
            rules.permits_name(&name);
        }
    }
}
