//! From how far an address can be reached, and the rule that a public server may not send us to a private one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far an address reaches, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reach {
    /// This machine.
    Loopback,
    /// This network segment: here the clouds keep their metadata servers.
    LinkLocal,
    /// This organization.
    Private,
    /// Everywhere.
    Public,
}

impl Reach {
    /// Classifies an address; addresses that embed an IPv4 address count as that one.
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => match embedded_v4(address) {
                Some(inner) => of_v4(inner),
                None => of_v6(address),
            },
        }
    }

    /// Says whether a server of this reach may send us to a server of that reach on another host.
    pub(super) fn may_send_to(self, target: Self) -> bool {
        match target {
            Self::Public => true,
            Self::Private => matches!(self, Self::Private | Self::Loopback),
            Self::LinkLocal | Self::Loopback => self == target,
        }
    }
}

/// Gives the address that a URL names literally, if it does.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

fn of_v4(address: Ipv4Addr) -> Reach {
    let [a, b, ..] = address.octets();
    if address.is_loopback() || a == 0 {
        Reach::Loopback
    } else if address.is_link_local() || address == Ipv4Addr::new(168, 63, 129, 16) {
        // 168.63.129.16 is Azure's host agent: as near as a metadata server.
        Reach::LinkLocal
    } else if address.is_private() || (a == 100 && (64..128).contains(&b)) {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn of_v6(address: Ipv6Addr) -> Reach {
    let first = address.segments()[0];
    if address.is_loopback() || address.is_unspecified() {
        Reach::Loopback
    } else if first & 0xffc0 == 0xfe80
        || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
    {
        // fd00:ec2::254 is the IPv6 form of a cloud's metadata server.
        Reach::LinkLocal
    } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
        Reach::Private
    } else {
        Reach::Public
    }
}

/// Gives the IPv4 address inside a mapped, compatible, NAT64 or 6to4 address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_classified() {
        let check = |address: &str, expect: Reach| {
            assert_eq!(
                Reach::of(address.parse().expect("an address")),
                expect,
                "{address}"
            );
        };
        check("127.0.0.1", Reach::Loopback);
        check("0.0.0.0", Reach::Loopback);
        check("::1", Reach::Loopback);
        check("::ffff:127.0.0.1", Reach::Loopback);
        check("169.254.169.254", Reach::LinkLocal);
        check("::ffff:169.254.169.254", Reach::LinkLocal);
        check("64:ff9b::169.254.169.254", Reach::LinkLocal);
        check("2002:a9fe:a9fe::", Reach::LinkLocal);
        check("fe80::1", Reach::LinkLocal);
        check("fd00:ec2::254", Reach::LinkLocal);
        check("10.1.2.3", Reach::Private);
        check("172.31.0.1", Reach::Private);
        check("172.32.0.1", Reach::Public);
        check("192.168.0.1", Reach::Private);
        check("100.64.0.1", Reach::Private);
        check("100.128.0.1", Reach::Public);
        check("fd12::1", Reach::Private);
        check("8.8.8.8", Reach::Public);
        check("2606:4700::1111", Reach::Public);
    }

    #[test]
    fn only_the_near_may_send_to_the_near() {
        use Reach::{LinkLocal, Loopback, Private, Public};
        let allowed = [
            (Public, Public),
            (Private, Public),
            (Private, Private),
            (Loopback, Public),
            (Loopback, Private),
            (Loopback, Loopback),
            (LinkLocal, LinkLocal),
            (LinkLocal, Public),
        ];
        for from in [Loopback, LinkLocal, Private, Public] {
            for to in [Loopback, LinkLocal, Private, Public] {
                assert_eq!(
                    from.may_send_to(to),
                    allowed.contains(&(from, to)),
                    "{from:?} to {to:?}"
                );
            }
        }
    }
}
