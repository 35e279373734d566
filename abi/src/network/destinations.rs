//! Where a container may connect to: an entry of its boot module, lines of text.
//!
//! A line is `HOST:PORT`. The port is a number, or `*` for all. The host is one of these:
//!
//! | host | stands for |
//! |---|---|
//! | `192.0.2.1`, `[2001:db8::1]` | this address |
//! | `192.0.2.0/24`, `[2001:db8::/32]` | the addresses that begin with so many bits |
//! | `api.example.com` | what this name stands for when a connection is made |
//! | `*.example.com` | the names that end with this |
//! | `*` | every name and address |
//!
//! Addresses that have a meaning on one host or one link alone ([`is_special`]) are not among those of `*` and of names, but
//! loopback ones of `localhost`: somebody else says what a name stands for. They have to be named.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most destinations of one container.
pub const MAX_DESTINATIONS: usize = 64;

/// Longest name of a host, in bytes (RFC 1035, 2.3.4, without the root's dot).
pub const MAX_NAME: usize = 253;

/// The name for the host itself (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// A host, or some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// Every one, but for special addresses.
    Any,
    /// The one of this name.
    Name(&'a str),
    /// Those whose names end with a dot and this.
    Below(&'a str),
    /// The addresses that begin with this one's first bits, of which there are so many.
    Network(IpAddr, u8),
}

/// Where a container may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port; `None` for all.
    pub port: Option<u16>,
}

impl<'a> Destination<'a> {
    /// Reads one as it is written.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (host, port) =
            text.rsplit_once(':').ok_or("it has no port; write HOST:PORT, or HOST:* for all")?;
        let port = match port {
            "*" => None,
            port => {
                Some(number(port).filter(|port| *port > 0).ok_or("its port is no number from 1 to 65535")?)
            }
        };
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Whether everything that another one allows is allowed by this one.
    #[must_use]
    pub fn covers(&self, other: &Destination<'_>) -> bool {
        let host = match (self.host, other.host) {
            (Host::Any, Host::Network(address, bits)) => has_no_special(address, bits),
            (Host::Any, Host::Name(name)) => !name.eq_ignore_ascii_case(LOCALHOST),
            (Host::Any, _) => true,
            (own, Host::Name(name)) => own.has_name(name),
            (Host::Below(own), Host::Below(other)) => {
                own.eq_ignore_ascii_case(other) || Host::Below(own).has_name(other)
            }
            (Host::Network(_, own), Host::Network(address, bits)) => {
                own <= bits && self.host.has_address(address)
            }
            _ => false,
        };
        host && self.has_port_of(other)
    }

    fn has_port_of(&self, other: &Destination<'_>) -> bool {
        self.port.is_none() || self.port == other.port
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Host::Any => f.write_str("*")?,
            Host::Name(name) => f.write_str(name)?,
            Host::Below(name) => write!(f, "*.{name}")?,
            Host::Network(IpAddr::V4(address), 32) => write!(f, "{address}")?,
            Host::Network(IpAddr::V4(address), bits) => write!(f, "{address}/{bits}")?,
            Host::Network(IpAddr::V6(address), 128) => write!(f, "[{address}]")?,
            Host::Network(IpAddr::V6(address), bits) => write!(f, "[{address}/{bits}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        const NO_HOST: &str = "its host is no name, no address, no network, and not `*`";
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return if is_name(name) { Ok(Self::Below(name)) } else { Err(NO_HOST) };
        }
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let (address, bits) = match bracketed.unwrap_or(text).split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (bracketed.unwrap_or(text), None),
        };
        let address: IpAddr = match (address.parse(), bits) {
            (Ok(address @ IpAddr::V4(_)), _) if bracketed.is_none() => address,
            (Ok(address @ IpAddr::V6(_)), _) if bracketed.is_some() => address,
            (Ok(_), _) => return Err("an address of IPv6 is in brackets, and no other: [2001:db8::1]:443"),
            (Err(_), None) if bracketed.is_none() && is_name(text) => return Ok(Self::Name(text)),
            (Err(_), _) => return Err(NO_HOST),
        };
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => all,
            Some(bits) => match number(bits) {
                Some(bits) if bits <= u16::from(all) => bits as u8,
                _ => return Err("the bits of its network are no number up to 32, or 128 for IPv6"),
            },
        };
        Ok(Self::Network(address, bits))
    }

    fn has_name(&self, name: &str) -> bool {
        match self {
            // Who is allowed every host is not allowed this one.
            Self::Any => !name.eq_ignore_ascii_case(LOCALHOST),
            Self::Name(own) => own.eq_ignore_ascii_case(name),
            Self::Below(own) => {
                let dot = name.len().checked_sub(own.len() + 1);
                let split = dot.and_then(|dot| Some((name.as_bytes().get(dot)?, name.get(dot + 1..)?)));
                split.is_some_and(|(dot, end)| *dot == b'.' && end.eq_ignore_ascii_case(own))
            }
            Self::Network(..) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        let begins = |own: u128, other: u128, bits: u8, all: u32| {
            let rest = all.saturating_sub(u32::from(bits));
            own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
        };
        match (self, address) {
            (Self::Any, address) => !is_special(address),
            (Self::Network(IpAddr::V4(own), bits), IpAddr::V4(other)) => {
                begins(own.to_bits().into(), other.to_bits().into(), *bits, Ipv4Addr::BITS)
            }
            (Self::Network(IpAddr::V6(own), bits), IpAddr::V6(other)) => {
                begins(own.to_bits(), other.to_bits(), *bits, Ipv6Addr::BITS)
            }
            _ => false,
        }
    }
}

/// A number in decimal digits, and nothing else.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether a text can be a host's name: letters, digits, `-` and `_` in parts between dots (RFC 1123, 2.1), and no address.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&part.len()) && part.bytes().all(plain)
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= MAX_NAME && text.split('.').all(is_part) && !is_number
}

/// Whether an address means something else on every host or link: loopback, link-local and multicast ones, broadcast, and
/// none at all (RFC 6890).
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_special(IpAddr::V4(v4)),
            None => {
                v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast()
            }
        },
    }
}

/// Whether no address of a network is special, as far as that is easily seen: of 16 bits on, either all are or none, but for
/// the last one of IPv4 and those that begin with zeros of IPv6.
fn has_no_special(address: IpAddr, bits: u8) -> bool {
    let last = match address {
        IpAddr::V4(v4) => {
            let rest = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | rest))
        }
        IpAddr::V6(v6) if v6.to_bits() >> 112 == 0 => return false,
        IpAddr::V6(_) => address,
    };
    bits >= 16 && !is_special(address) && !is_special(last)
}

/// All destinations of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Destinations<'a>(&'a str);

impl<'a> Destinations<'a> {
    /// Reads the entry; `None` if there are too many, or one is none.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let this = Self(core::str::from_utf8(bytes).ok()?);
        let all_are_some = this.0.lines().all(|line| Destination::parse(line).is_ok());
        (all_are_some && this.0.lines().count() <= MAX_DESTINATIONS).then_some(this)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Destination<'a>> + use<'a> {
        self.0.lines().filter_map(|line| Destination::parse(line).ok())
    }

    /// As lines of text.
    #[must_use]
    pub const fn as_text(&self) -> &'a str {
        self.0
    }

    /// Whether a name may be looked up: whether there is a port of it to connect to.
    #[must_use]
    pub fn allow_name(&self, name: &str) -> bool {
        self.iter().any(|own| own.host.has_name(name))
    }

    /// Whether a connection may be made to a port of an address.
    #[must_use]
    pub fn allow_address(&self, address: IpAddr, port: u16) -> bool {
        self.iter().any(|own| own.host.has_address(address) && own.has_port(port))
    }

    /// Whether a connection may be made to a port of this address, which a name stands for.
    #[must_use]
    pub fn allow_address_of(&self, name: &str, address: IpAddr, port: u16) -> bool {
        let is_allowed = |own: Destination<'_>| own.host.has_name(name) && own.has_port(port);
        let is_own = !is_special(address) || (address.is_loopback() && name.eq_ignore_ascii_case(LOCALHOST));
        self.allow_address(address, port) || (is_own && self.iter().any(is_allowed))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn allowed(lines: &str) -> Destinations<'_> {
        Destinations::parse(lines.as_bytes()).unwrap()
    }

    #[test]
    fn destinations_are_written_as_they_are_read() {
        extern crate std;
        use std::string::ToString;
        for text in [
            "*:*",
            "*:443",
            "localhost:80",
            "api.example.com:443",
            "*.example.com:*",
            "192.0.2.1:80",
            "192.0.2.0/24:80",
            "0.0.0.0/0:1",
            "[2001:db8::1]:65535",
            "[2001:db8::/32]:*",
        ] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:http",
            "host:+1",
            "*x:80",
            "*.:80",
            "*.*.x:80",
            "a..b:80",
            "-:",
            "a b:80",
            "1.2.3:80",
            "1.2.3.4.5:80",
            "1.2.3.4/33:80",
            "1.2.3.4/:80",
            "1.2.3.4/-1:80",
            "2001:db8::1:80",
            "[1.2.3.4]:80",
            "[::1:80",
            "[::/129]:80",
            "[name]:80",
            "host/8:80",
            "ho\u{df}t:80",
        ] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
        assert!(Destinations::parse(b"a:1\n\nb:1").is_none());
        assert!(Destinations::parse(&b"a:1\n".repeat(MAX_DESTINATIONS + 1)).is_none());
    }

    #[test]
    fn names_are_allowed_as_they_are_written_and_below() {
        let lines = allowed("api.example.com:443\n*.example.org:80");
        assert!(lines.allow_name("API.example.com") && lines.allow_name("a.b.example.org"));
        for other in ["example.com", "xapi.example.com", "example.org", "xexample.org", "org", ""] {
            assert!(!lines.allow_name(other), "{other}");
        }
        let address = "192.0.2.1".parse().unwrap();
        assert!(lines.allow_address_of("api.example.com", address, 443));
        assert!(!lines.allow_address_of("api.example.com", address, 80));
        assert!(!lines.allow_address(address, 443), "an address is no name");
    }

    #[test]
    fn special_addresses_have_to_be_named() {
        let all = allowed("*:*\nhttp.example.com:80");
        for special in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
        ]
        .into_iter()
        .chain(["::ffff:127.0.0.1", "ff02::1"])
        {
            let address = special.parse().unwrap();
            assert!(!all.allow_address(address, 80), "{special}");
            assert!(!all.allow_address_of("http.example.com", address, 80), "{special}");
        }
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(!all.allow_name("localhost"));
        assert!(allowed("127.0.0.0/8:80").allow_address_of("http.example.com", loopback, 80));
        assert!(allowed("localhost:80").allow_address_of("localhost", loopback, 80));
        assert!(!allowed("localhost:80").allow_address(loopback, 80));
        let other = "169.254.169.254".parse().unwrap();
        assert!(!allowed("localhost:80").allow_address_of("localhost", other, 80));
        assert!(all.allow_address("192.0.2.1".parse().unwrap(), 1));
        assert!(all.allow_address("2001:db8::1".parse().unwrap(), 1));
    }

    #[test]
    fn networks_have_the_addresses_that_begin_like_them() {
        let lines = allowed("192.0.2.0/25:80\n[2001:db8::/33]:80");
        let may = |address: &str| lines.allow_address(address.parse().unwrap(), 80);
        assert!(
            may("192.0.2.127") && !may("192.0.2.128") && may("2001:db8:7fff::1") && !may("2001:db8:8000::1")
        );
        let all = allowed("0.0.0.0/0:80");
        assert!(all.allow_address("203.0.113.9".parse().unwrap(), 80));
        assert!(!all.allow_address("::1".parse().unwrap(), 80));
    }

    #[test]
    fn one_covers_what_it_allows_and_no_more() {
        let covers = |own: &str, other: &str| {
            Destination::parse(own).unwrap().covers(&Destination::parse(other).unwrap())
        };
        for (own, other) in [
            ("*:*", "example.com:80"),
            ("*:*", "*.example.com:*"),
            ("*:80", "192.0.2.1:80"),
            ("*:80", "192.0.0.0/16:80"),
            ("*:80", "[2001:db8::/32]:80"),
            ("*.example.com:*", "a.example.com:80"),
            ("*.example.com:*", "*.a.example.com:80"),
            ("192.0.2.0/24:*", "192.0.2.128/25:80"),
            ("localhost:80", "localhost:80"),
        ] {
            assert!(covers(own, other), "{own} {other}");
            assert!(covers(own, own), "{own}");
        }
        for (own, other) in [
            ("*:80", "example.com:*"),
            ("*:80", "example.com:81"),
            ("*:*", "localhost:80"),
            ("*:*", "127.0.0.1:80"),
            ("*:*", "0.0.0.0/0:80"),
            ("*:*", "169.0.0.0/8:80"),
            ("*:*", "255.255.0.0/16:80"),
            ("*:*", "[::ffff:168.0.0.0/102]:80"),
            ("*.example.com:*", "example.com:80"),
            ("192.0.2.0/24:*", "192.0.0.0/16:80"),
            ("192.0.2.0/24:*", "*:80"),
            ("example.com:*", "*.example.com:80"),
        ] {
            assert!(!covers(own, other), "{own} {other}");
        }
    }
}
