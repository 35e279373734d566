//! Connections to the outside, of which preview 1 says nothing: what WASI 0.2's sockets are made of.

use std::net::{IpAddr, SocketAddr};

use sentient_abi::network::Destinations;
use sentient_abi::network::calls::{Answer, Request, Status};
use sentient_wasi::{Builder, Denied, Errno, Lookup, Readiness, Wait};

use crate::guest::{DATA, Guest, RESULT, blocked, done};

/// A container that may connect to these destinations.
fn caller(destinations: &str) -> Guest {
    Guest::with(
        Builder::new().destinations(Destinations::parse(destinations.as_bytes()).unwrap()).listener(80),
    )
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl Guest {
    fn connect(&mut self, to: &str) -> Result<u32, Errno> {
        self.wasi.connect(&mut self.host, address(to))
    }

    fn connected(&mut self, fd: u32) -> Result<(), Errno> {
        self.wasi.connected(&mut self.host, fd)
    }

    fn look_up(&mut self, name: &str) -> Result<Lookup, Errno> {
        self.wasi.look_up(&mut self.host, name)
    }

    /// What was asked for last.
    fn asked(&self) -> (Request, &str, u16) {
        let (request, host, port) = self.host.peers.values().last().unwrap().call.as_ref().unwrap();
        (*request, host, *port)
    }

    /// Answers the last call.
    fn answer(&mut self, status: Status, addresses: &[&str]) {
        let answer = Answer::new(status, ips(addresses));
        self.host.peers.values_mut().last().unwrap().answer = Some(answer);
    }

    /// Looks a name up that has these addresses.
    fn find(&mut self, name: &str, addresses: &[&str]) {
        let Ok(Lookup::Asked(fd)) = self.look_up(name) else { panic!("{name} was not asked for") };
        self.answer(Status::Done, addresses);
        assert_eq!(self.wasi.looked_up(&mut self.host, fd), Ok(ips(addresses)));
    }
}

#[test]
fn a_connection_is_asked_for_and_becomes_one_when_the_answer_is_there() {
    let mut guest = caller("192.0.2.1:80");
    let fd = guest.connect("192.0.2.1:80").unwrap();
    assert_eq!(guest.asked(), (Request::Connect, "192.0.2.1", 80));
    assert_eq!(guest.connected(fd), Err(Errno::Again));
    // Until then it can be waited for, and nothing else.
    let (iovs, count) = guest.iovs(&[(DATA, 4)]);
    let read = guest.wasi.fd_read(&mut guest.host, &mut guest.mem, fd, iovs, count, RESULT);
    assert_eq!(done(read), Err(Errno::Notconn));
    let write = guest.wasi.fd_write(&mut guest.host, &mut guest.mem, fd, iovs, count, RESULT);
    assert_eq!(done(write), Err(Errno::Notconn));
    let accept = guest.wasi.sock_accept(&mut guest.host, &mut guest.mem, fd, 0, RESULT);
    assert_eq!(done(accept), Err(Errno::Inval));
    assert_eq!(guest.wasi.ends(&mut guest.host, fd), Err(Errno::Notconn));
    let mut subscription = [0; 48];
    subscription[8] = 1;
    subscription[16..20].copy_from_slice(&fd.to_le_bytes());
    guest.put(0x800, &subscription);
    let poll = guest.wasi.poll_oneoff(&mut guest.host, &mut guest.mem, 0x800, 0x900, 1, RESULT);
    assert_eq!(blocked(poll), Wait::SOCKETS);
    guest.answer(Status::Done, &["192.0.2.1"]);
    let poll = guest.wasi.poll_oneoff(&mut guest.host, &mut guest.mem, 0x800, 0x900, 1, RESULT);
    assert_eq!((done(poll), guest.u32_at(RESULT)), (Ok(()), 1));
    assert_eq!(guest.connected(fd), Ok(()));
    assert_eq!(guest.connected(fd), Err(Errno::Badf), "it is no call any more");
    assert_eq!(guest.wasi.room(&mut guest.host, fd), Ok(Readiness::Ready(u64::MAX)));
    let write = guest.wasi.fd_write(&mut guest.host, &mut guest.mem, fd, iovs, count, RESULT);
    assert_eq!((done(write), guest.u32_at(RESULT)), (Ok(()), 4));
    done(guest.wasi.fd_close(&mut guest.host, &mut guest.mem, fd)).unwrap();
    assert!(guest.host.peers.is_empty());
}

#[test]
fn a_call_that_comes_to_nothing_is_closed_with_its_reason() {
    for (status, errno) in [
        (Status::Denied, Errno::Acces),
        (Status::NoSuchName, Errno::Noent),
        (Status::NoResolver, Errno::Netdown),
        (Status::Refused, Errno::Connrefused),
        (Status::Unreachable, Errno::Hostunreach),
        (Status::TimedOut, Errno::Timedout),
        (Status::NoRoom, Errno::Nobufs),
        (Status::Failed, Errno::Io),
    ] {
        let mut guest = caller("*:*");
        let fd = guest.connect("192.0.2.1:80").unwrap();
        guest.answer(status, &[]);
        assert_eq!(guest.connected(fd), Err(errno));
        assert!(guest.host.peers.is_empty(), "{status:?}");
        assert_eq!(guest.connected(fd), Err(Errno::Badf));
        let Ok(Lookup::Asked(fd)) = guest.look_up("example.com") else { panic!("it was not asked for") };
        guest.answer(status, &[]);
        assert_eq!(guest.wasi.looked_up(&mut guest.host, fd), Err(errno));
        assert!(guest.host.peers.is_empty(), "{status:?}");
    }
    let mut guest = caller("*:*");
    let fd = guest.connect("192.0.2.1:80").unwrap();
    guest.host.peers.values_mut().last().unwrap().reset = true;
    assert_eq!(guest.connected(fd), Err(Errno::Connreset));
}

#[test]
fn what_is_not_allowed_is_not_asked_for_and_told() {
    let mut guest = caller("api.example.com:443\n192.0.2.0/24:80");
    assert_eq!(guest.connect("192.0.3.1:80"), Err(Errno::Acces));
    assert_eq!(guest.connect("[2001:db8::1]:80"), Err(Errno::Acces));
    assert_eq!(guest.look_up("example.com"), Err(Errno::Acces));
    // An address of a name that may be connected to is none itself.
    assert_eq!(guest.connect("203.0.113.1:443"), Err(Errno::Acces));
    guest.find("api.example.com", &["203.0.113.1"]);
    assert_eq!(guest.connect("203.0.113.1:80"), Err(Errno::Acces));
    assert!(guest.host.peers.is_empty());
    let wanted =
        ["192.0.3.1:80", "[2001:db8::1]:80", "example.com:*", "203.0.113.1:443", "api.example.com:80"];
    assert_eq!(guest.host.denied, wanted.map(|to| Denied::Connect(to.into())));
    // Without a word about it, everything.
    let mut guest = Guest::with(Builder::new());
    assert_eq!(guest.connect("192.0.2.1:80"), Err(Errno::Acces));
}

#[test]
fn an_address_of_a_name_is_connected_to_by_the_name() {
    let mut guest = caller("api.example.com:443\n*.example.org:*\n192.0.2.1:443");
    guest.find("API.example.com.", &["203.0.113.1", "2001:db8::1", "192.0.2.1"]);
    guest.connect("203.0.113.1:443").unwrap();
    assert_eq!(guest.asked(), (Request::Connect, "api.example.com", 443));
    guest.connect("[2001:db8::1]:443").unwrap();
    assert_eq!(guest.asked(), (Request::Connect, "api.example.com", 443));
    guest.connect("192.0.2.1:443").unwrap();
    assert_eq!(guest.asked(), (Request::Connect, "192.0.2.1", 443), "which may be connected to itself");
    // Of several names of an address, one that may.
    guest.find("a.example.org", &["203.0.113.1"]);
    guest.connect("203.0.113.1:80").unwrap();
    assert_eq!(guest.asked(), (Request::Connect, "a.example.org", 80));
    // A name that has other addresses now.
    guest.find("a.example.org", &["203.0.113.2"]);
    assert_eq!(guest.connect("203.0.113.1:80"), Err(Errno::Acces));
    // The oldest names are forgotten.
    for number in 0..64 {
        guest.find(&format!("n{number}.example.org"), &["203.0.113.3"]);
    }
    assert_eq!(guest.connect("203.0.113.2:80"), Err(Errno::Acces));
    guest.connect("203.0.113.3:80").unwrap();
}

#[test]
fn addresses_are_names_of_themselves_and_what_is_no_name_is_refused() {
    let mut guest = caller("*:*");
    assert_eq!(guest.look_up("192.0.2.1"), Ok(Lookup::Known(ips(&["192.0.2.1"])[0])));
    assert_eq!(guest.look_up("[2001:db8::1]"), Ok(Lookup::Known(ips(&["2001:db8::1"])[0])));
    for none in ["", ".", "a b", "a..b", "1.2.3", "a\0b", &"x".repeat(64), &"x.".repeat(200)] {
        assert_eq!(guest.look_up(none), Err(Errno::Inval), "{none:?}");
    }
    assert!(guest.host.peers.is_empty() && guest.host.denied.is_empty());
}

#[test]
fn a_container_listens_on_ports_that_it_was_given() {
    let mut guest = caller("");
    let fd = guest.wasi.listen(&mut guest.host, 80).unwrap();
    guest.host.connect(80, b"hello");
    let accept = guest.wasi.sock_accept(&mut guest.host, &mut guest.mem, fd, 0, RESULT);
    assert_eq!(done(accept), Ok(()));
    let accepted = guest.u32_at(RESULT);
    assert!(guest.wasi.ends(&mut guest.host, accepted).is_ok());
    assert_eq!(guest.wasi.listen(&mut guest.host, 81), Err(Errno::Acces));
    assert_eq!(guest.host.denied, [Denied::Listen(81)]);
}
