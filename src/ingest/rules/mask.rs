//! An address → its network, so that it is nobody's.
//!
//! What is no address (a name, one with a port, a list, a number) becomes null: an address that is not understood is not let
//! through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::object::{quoted, text_of};

/// Bits of addresses that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Masks {
    /// Of 32.
    pub(super) v4: u32,
    /// Of 128.
    pub(super) v6: u32,
}

impl Default for Masks {
    fn default() -> Self {
        Self { v4: 24, v6: 48 }
    }
}

impl Masks {
    /// The network of the address that a value is, as JSON.
    pub(super) fn masked(self, value: &str) -> String {
        let address = text_of(value).and_then(|text| text.parse::<IpAddr>().ok());
        address.map_or_else(|| "null".to_owned(), |address| quoted(&self.network(address).to_string()))
    }

    fn network(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => IpAddr::V4(self.network_v4(address)),
            IpAddr::V6(address) => IpAddr::V6(match address.to_ipv4_mapped() {
                Some(inner) => self.network_v4(inner).to_ipv6_mapped(),
                None => {
                    let lost = u128::MAX.checked_shr(self.v6).unwrap_or(0);
                    Ipv6Addr::from(u128::from(address) & !lost)
                }
            }),
        }
    }

    fn network_v4(self, address: Ipv4Addr) -> Ipv4Addr {
        let lost = u32::MAX.checked_shr(self.v4).unwrap_or(0);
        Ipv4Addr::from(u32::from(address) & !lost)
    }
}
