//! What the runtime asks the gateway for: connections to the outside, and addresses of names.
//!
//! Each is a TCP connection from a container's address to [`CALLS_PORT`] of the gateway. The guest sends a [`Call`], the
//! gateway sends an [`Answer`]. If a connection was asked for and there is one, its bytes follow, both ways; otherwise the
//! gateway closes.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The gateway's port for calls.
pub const CALLS_PORT: u16 = 1080;

/// Bytes of a call before its host: what is asked for, the port, the length of the host.
const CALL_HEAD: usize = 4;
/// Most bytes of a host: a name, or an address as text.
const MAX_HOST: usize = super::MAX_NAME;
/// Most bytes of a call.
pub const MAX_CALL: usize = CALL_HEAD + MAX_HOST;

/// Most addresses of an answer.
pub const MAX_ADDRESSES: usize = 16;
/// Bytes of an answer before its addresses: what came of the call, and how many there are.
const ANSWER_HEAD: usize = 2;
/// Bytes of an address: 4 or 6, and the address' own, with zeros behind those of IPv4.
const ADDRESS: usize = 17;
/// Most bytes of an answer.
pub const MAX_ANSWER: usize = ANSWER_HEAD + MAX_ADDRESSES * ADDRESS;

/// Bytes that are no call, or no answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Request {
    /// A connection to the host's port.
    Connect = 1,
    /// The addresses that the host's name stands for.
    Resolve = 2,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// What is asked for.
    pub request: Request,
    /// The port; 0 if it is about none.
    pub port: u16,
    /// The host: its name, or its address as text.
    pub host: &'a str,
}

impl<'a> Call<'a> {
    /// Reads a call: `Ok(None)` if more of it is to come, and with it how many bytes it is long.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let [request, low, high, len, rest @ ..] = bytes else { return Ok(None) };
        let request = match request {
            1 => Request::Connect,
            2 => Request::Resolve,
            _ => return Err(Malformed),
        };
        let len = usize::from(*len);
        if len > MAX_HOST {
            return Err(Malformed);
        }
        let Some(host) = rest.get(..len) else { return Ok(None) };
        let host = core::str::from_utf8(host).map_err(|_| Malformed)?;
        Ok(Some((Self { request, port: u16::from_le_bytes([*low, *high]), host }, CALL_HEAD + len)))
    }

    /// The call as bytes; `None` if its host is too long.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn encode(&self) -> Option<alloc::vec::Vec<u8>> {
        let len = u8::try_from(self.host.len()).ok().filter(|len| usize::from(*len) <= MAX_HOST)?;
        let [low, high] = self.port.to_le_bytes();
        let mut bytes = alloc::vec![self.request as u8, low, high, len];
        bytes.extend_from_slice(self.host.as_bytes());
        Some(bytes)
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// What was asked for.
    Done = 0,
    /// The container may not.
    Denied = 1,
    /// There is no such name, or it has no address.
    NoSuchName = 2,
    /// Nobody knows at the moment what the name stands for.
    NoResolver = 3,
    /// Nobody listens there.
    Refused = 4,
    /// No way leads there.
    Unreachable = 5,
    /// It took too long.
    TimedOut = 6,
    /// There are too many connections.
    NoRoom = 7,
    /// It failed in another way.
    Failed = 8,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Denied,
        Self::NoSuchName,
        Self::NoResolver,
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::NoRoom,
        Self::Failed,
    ];
}

/// The answer to a call: with the address that a connection leads to, or all addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What came of it.
    pub status: Status,
    addresses: [IpAddr; MAX_ADDRESSES],
    count: usize,
}

impl Answer {
    /// One with these addresses, as far as there is room for them.
    #[must_use]
    pub fn new(status: Status, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut this =
            Self { status, addresses: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MAX_ADDRESSES], count: 0 };
        for (to, from) in this.addresses.iter_mut().zip(addresses) {
            *to = from;
            this.count += 1;
        }
        this
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        self.addresses.get(..self.count).unwrap_or_default()
    }

    /// Reads an answer: `Ok(None)` if more of it is to come, and with it how many bytes it is long.
    ///
    /// # Errors
    /// [`Malformed`] if it is none.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let [status, count, rest @ ..] = bytes else { return Ok(None) };
        let status = *Status::ALL.get(usize::from(*status)).ok_or(Malformed)?;
        let count = usize::from(*count);
        if count > MAX_ADDRESSES {
            return Err(Malformed);
        }
        let len = count * ADDRESS;
        let Some(addresses) = rest.get(..len) else { return Ok(None) };
        let mut this = Self::new(status, []);
        for (to, from) in this.addresses.iter_mut().zip(addresses.as_chunks::<ADDRESS>().0) {
            let [kind, octets @ ..] = from;
            let [a, b, c, d, ..] = octets;
            *to = match kind {
                4 => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
                6 => IpAddr::V6(Ipv6Addr::from_octets(*octets)),
                _ => return Err(Malformed),
            };
        }
        this.count = count;
        Ok(Some((this, ANSWER_HEAD + len)))
    }

    /// The answer as bytes.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn encode(&self) -> alloc::vec::Vec<u8> {
        let mut bytes = alloc::vec![self.status as u8, self.count as u8];
        for address in self.addresses() {
            match address {
                IpAddr::V4(v4) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&v4.octets());
                    bytes.extend_from_slice(&[0; 12]);
                }
                IpAddr::V6(v6) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&v6.octets());
                }
            }
        }
        bytes
    }
}

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_they_were_written() {
        let call = Call { request: Request::Connect, port: 443, host: "api.example.com" };
        let bytes = call.encode().unwrap();
        assert_eq!(Call::read(&bytes), Ok(Some((call, bytes.len()))));
        for len in 0..bytes.len() {
            assert_eq!(Call::read(&bytes[..len]), Ok(None));
        }
        assert!(Call::read(&[3, 0, 0, 0]).is_err() && Call::read(&[1, 0, 0, 1, 0xff]).is_err());
        assert!(Call::read(&[1, 0, 0, 254]).is_err());
        assert!(Call { host: &"x".repeat(MAX_HOST + 1), ..call }.encode().is_none());
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for status in Status::ALL {
            let answer = Answer::new(status, addresses);
            let bytes = answer.encode();
            assert_eq!(Answer::read(&bytes), Ok(Some((answer, bytes.len()))));
            for len in 0..bytes.len() {
                assert_eq!(Answer::read(&bytes[..len]), Ok(None));
            }
        }
        let many = Answer::new(Status::Done, core::iter::repeat_n(addresses[0], 20));
        assert_eq!((many.addresses().len(), many.encode().len()), (MAX_ADDRESSES, MAX_ANSWER));
        assert!(Answer::read(&[9, 0]).is_err() && Answer::read(&[0, 17]).is_err());
        assert!(Answer::read(&[&[0, 1, 5][..], &[0; 16]].concat()).is_err());
    }
}
