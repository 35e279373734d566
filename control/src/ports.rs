//! Ports of containers on the host, as users write them: `8080:80`, `127.0.0.1:8080:80`, `[::1]:8080:80`, or `80` alone
//! for a host's port that is free.

use sentient_vmm::network::{Network, Published};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use utoipa::ToSchema;

/// Where containers are found unless somebody says otherwise: on this host alone.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A container's port and the address of the host at which it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMapping {
    /// The host's address, with port 0 for one that is free.
    pub host: SocketAddr,
    /// The container's port.
    pub port: u16,
}

impl FromStr for PortMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no port: {why}; write [ADDRESS:][HOST-PORT:]PORT");
        let number = |port: &str| {
            port.parse::<u16>().map_err(|_| wrong(&format!("`{port}` is no number up to 65535")))
        };
        // From the end: an address may have colons of its own.
        let mut parts = text.rsplitn(3, ':');
        let port = number(parts.next().unwrap_or_default())?;
        if port == 0 {
            return Err(wrong("a container's port is not 0"));
        }
        let (host, address) = (parts.next(), parts.next());
        let host = match host {
            None => 0,
            Some("") if address.is_some() => 0,
            Some(host) => number(host)?,
        };
        let address = address.map_or(Ok(HERE), |address| {
            let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
            bare.parse().map_err(|_| wrong(&format!("`{address}` is no address")))
        })?;
        Ok(Self { host: SocketAddr::new(address, host), port })
    }
}

impl TryFrom<String> for PortMapping {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl From<PortMapping> for String {
    fn from(mapping: PortMapping) -> Self {
        mapping.to_string()
    }
}

/// A port of a container that the host's programs can connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// The container's port.
    pub port: u16,
    /// The host's address, with its port.
    pub address: String,
}

impl From<&Published> for PublishedPort {
    fn from(published: &Published) -> Self {
        Self { port: published.port, address: published.address.to_string() }
    }
}

/// Publishes ports of a container: all of them, or none.
///
/// # Errors
/// The one that could not be, and the error of its address.
pub fn publish(
    network: &Network,
    container: u32,
    mappings: &[PortMapping],
) -> Result<(), (PortMapping, io::Error)> {
    for mapping in mappings {
        if let Err(error) = network.publish(mapping.host, container, mapping.port) {
            network.close(container);
            return Err((*mapping, error));
        }
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_users_write_them() {
        for (text, host, port) in [
            ("80", "127.0.0.1:0", 80),
            ("8080:80", "127.0.0.1:8080", 80),
            ("0:80", "127.0.0.1:0", 80),
            ("0.0.0.0:8080:80", "0.0.0.0:8080", 80),
            ("10.0.0.1::443", "10.0.0.1:0", 443),
            ("[::1]:8080:80", "[::1]:8080", 80),
            (":::8080:80", "[::]:8080", 80),
        ] {
            let mapping: PortMapping = text.parse().unwrap();
            assert_eq!(mapping, PortMapping { host: host.parse().unwrap(), port }, "{text}");
            assert_eq!(mapping.to_string().parse::<PortMapping>().unwrap(), mapping, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_with_what_is_wrong_with_it() {
        for (text, why) in [
            ("", "`` is no number"),
            ("0", "is not 0"),
            ("8080:0", "is not 0"),
            ("65536", "`65536` is no number"),
            ("http:80", "`http` is no number"),
            ("localhost:8080:80", "`localhost` is no address"),
            ("80/tcp", "`80/tcp` is no number"),
            ("1.2.3.4:5:6:7", "`1.2.3.4:5` is no address"),
        ] {
            let error = text.parse::<PortMapping>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
