//! Sockets: those that listen, and connections accepted from them (`sock_accept`, `sock_recv`, `sock_send`,
//! `sock_shutdown` of the witx; accept(2), recv(2), send(2), shutdown(2) of POSIX).

use sentient_wasi::{Builder, Errno, Outcome, Wait, rights};

use crate::guest::{DATA, Guest, NONBLOCK, RESULT, ROOT, blocked, done};

/// The socket that listens on port 80, and the one for 443.
const WEB: u32 = 4;
const SECURE: u32 = 5;

const PEEK: u32 = 1;
const WAITALL: u32 = 2;
const RECEIVING: u32 = 1;
const SENDING: u32 = 2;

/// A container that listens on two ports.
fn server() -> Guest {
    Guest::with(Builder::new().env("HOME", "/").listener(80).listener(443))
}

impl Guest {
    fn accept_call(&mut self, fd: u32, flags: u32) -> Outcome {
        self.wasi.sock_accept(&mut self.host, &mut self.mem, fd, flags, RESULT)
    }

    fn accept(&mut self, fd: u32) -> Result<u32, Errno> {
        done(self.accept_call(fd, 0))?;
        Ok(self.u32_at(RESULT))
    }

    fn recv_call(&mut self, fd: u32, lengths: &[u32], flags: u32) -> Outcome {
        let mut at = DATA;
        let mut buffers = Vec::new();
        for len in lengths {
            buffers.push((at, *len));
            at += len;
        }
        let (iovs, count) = self.iovs(&buffers);
        self.put(RESULT + 4, &[0xff; 2]);
        self.wasi.sock_recv(&mut self.host, &mut self.mem, fd, iovs, count, flags, RESULT, RESULT + 4)
    }

    fn recv(&mut self, fd: u32, lengths: &[u32], flags: u32) -> Result<Vec<u8>, Errno> {
        done(self.recv_call(fd, lengths, flags))?;
        assert_eq!(self.bytes(RESULT + 4, 2), [0, 0], "nothing of a stream is cut off");
        Ok(self.bytes(DATA, self.u32_at(RESULT)).to_vec())
    }

    fn send_call(&mut self, fd: u32, bytes: &[u8], flags: u32) -> Outcome {
        self.put(DATA, bytes);
        let (iovs, count) = self.iovs(&[(DATA, bytes.len() as u32)]);
        self.wasi.sock_send(&mut self.host, &mut self.mem, fd, iovs, count, flags, RESULT)
    }

    fn send(&mut self, fd: u32, bytes: &[u8]) -> Result<u32, Errno> {
        done(self.send_call(fd, bytes, 0))?;
        Ok(self.u32_at(RESULT))
    }

    fn shutdown(&mut self, fd: u32, how: u32) -> Result<(), Errno> {
        done(self.wasi.sock_shutdown(&mut self.host, &mut self.mem, fd, how))
    }

    /// Polls one descriptor: its event's type, bytes and flags.
    fn poll(&mut self, fd: u32, kind: u8) -> Result<(Errno, u64, u16), Wait> {
        let mut subscription = [0; 48];
        subscription[8] = kind;
        subscription[16..20].copy_from_slice(&fd.to_le_bytes());
        self.put(DATA, &subscription);
        match self.wasi.poll_oneoff(&mut self.host, &mut self.mem, DATA, DATA + 64, 1, RESULT) {
            Outcome::Block(wait) => Err(wait),
            outcome => {
                done(outcome).unwrap();
                let event = self.bytes(DATA + 64, 32);
                let errno = if event[8] == 0 { Errno::Success } else { Errno::Badf };
                let flags = u16::from_le_bytes([event[24], event[25]]);
                Ok((errno, self.u64_at(DATA + 80), flags))
            }
        }
    }
}

const READ: u8 = 1;
const WRITE: u8 = 2;

#[test]
fn a_container_is_told_where_its_sockets_are() {
    let mut g = server();
    let sizes = (RESULT, RESULT + 4);
    done(g.wasi.environ_sizes_get(&mut g.host, &mut g.mem, sizes.0, sizes.1)).unwrap();
    let len = g.u32_at(sizes.1);
    done(g.wasi.environ_get(&mut g.host, &mut g.mem, DATA, DATA + 64)).unwrap();
    let text = String::from_utf8(g.bytes(DATA + 64, len).to_vec()).unwrap();
    let expected = "HOME=/\0LISTEN_FDS=2\0LISTEN_FDS_START=4\0LISTEN_FDNAMES=80:443\0";
    assert_eq!(text, expected);
    for fd in [WEB, SECURE] {
        let stat = g.fdstat(fd).unwrap();
        assert_eq!((stat.filetype, stat.base & rights::SOCK_ACCEPT != 0), (6, true), "a stream socket");
        assert_eq!(g.fstat(fd).unwrap().filetype, 6);
        assert_eq!(done(g.wasi.fd_prestat_get(&mut g.host, &mut g.mem, fd, RESULT)), Err(Errno::Badf));
    }
}

#[test]
fn without_ports_there_is_no_socket_and_nothing_is_said() {
    let mut g = Guest::new();
    done(g.wasi.environ_sizes_get(&mut g.host, &mut g.mem, RESULT, RESULT + 4)).unwrap();
    assert_eq!(g.u32_at(RESULT), 0);
    assert_eq!(g.fdstat(WEB), Err(Errno::Badf));
}

#[test]
fn accepting_waits_for_somebody_and_gives_a_connection_of_its_own() {
    let mut g = server();
    assert_eq!(blocked(g.accept_call(WEB, 0)), Wait::SOCKETS);
    g.host.connect(443, b"");
    assert_eq!(blocked(g.accept_call(WEB, 0)), Wait::SOCKETS, "that was another port");
    g.host.connect(80, b"hello");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(fd, 6, "the lowest free number");
    assert_eq!(g.accept(SECURE).unwrap(), 7);
    assert_eq!(g.recv(fd, &[16], 0).unwrap(), b"hello");
    let stat = g.fdstat(fd).unwrap();
    assert_eq!((stat.filetype, stat.flags, stat.base), (6, 0, rights::CONNECTED));
}

#[test]
fn accepting_does_not_wait_in_non_blocking_mode_and_can_ask_for_it() {
    let mut g = server();
    g.set_flags(WEB, NONBLOCK).unwrap();
    assert_eq!(g.accept(WEB), Err(Errno::Again));
    g.host.connect(80, b"");
    done(g.accept_call(WEB, NONBLOCK)).unwrap();
    let fd = g.u32_at(RESULT);
    assert_eq!(g.fdstat(fd).unwrap().flags, NONBLOCK as u16);
    assert_eq!(g.recv(fd, &[16], 0), Err(Errno::Again));
    assert_eq!(g.accept_call(WEB, 1), Outcome::Done(Errno::Inval), "append is no flag of a connection");
    assert_eq!(g.accept_call(WEB, 1 << 20), Outcome::Done(Errno::Inval));
}

#[test]
fn a_connection_that_finds_no_descriptor_waits() {
    let limits = sentient_wasi::Limits { descriptors: 5, ..Default::default() };
    let mut g = Guest::with(Builder::new().limits(limits).listener(80));
    g.host.connect(80, b"x");
    assert_eq!(g.accept(WEB), Err(Errno::Mfile));
    g.close(ROOT).unwrap();
    assert_eq!(g.accept(WEB), Ok(ROOT));
    assert_eq!(g.recv(ROOT, &[1], 0).unwrap(), b"x");
}

#[test]
fn what_comes_is_spread_over_the_buffers_and_its_end_is_zero() {
    let mut g = server();
    let name = g.host.connect(80, b"abcdef");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.recv(fd, &[2, 0, 3], 0).unwrap(), b"abcde");
    assert_eq!(g.recv(fd, &[8], 0).unwrap(), b"f");
    assert_eq!(blocked(g.recv_call(fd, &[8], 0)), Wait::SOCKETS);
    g.host.peers.get_mut(&name).unwrap().ended = true;
    assert_eq!(g.recv(fd, &[8], 0).unwrap(), b"");
}

#[test]
fn what_was_peeked_at_stays() {
    let mut g = server();
    g.host.connect(80, b"abc");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.recv(fd, &[2, 2], PEEK).unwrap(), b"ab");
    assert_eq!(g.recv(fd, &[8], PEEK).unwrap(), b"abc");
    assert_eq!(g.recv(fd, &[8], 0).unwrap(), b"abc");
    assert_eq!(g.recv(fd, &[8], 4), Err(Errno::Inval));
}

#[test]
fn who_waits_for_all_gets_full_buffers_or_what_came_before_the_end() {
    let mut g = server();
    let name = g.host.connect(80, b"abc");
    let fd = g.accept(WEB).unwrap();
    let come = |g: &mut Guest, bytes: &[u8]| g.host.peers.get_mut(&name).unwrap().coming.extend(bytes);
    assert_eq!(blocked(g.recv_call(fd, &[2, 0, 4], WAITALL)), Wait::SOCKETS);
    come(&mut g, b"d");
    assert_eq!(blocked(g.recv_call(fd, &[2, 0, 4], WAITALL)), Wait::SOCKETS);
    come(&mut g, b"efgh");
    assert_eq!(g.recv(fd, &[2, 0, 4], WAITALL).unwrap(), b"abcdef");
    // What is left over is the next call's.
    assert_eq!(blocked(g.recv_call(fd, &[3], WAITALL)), Wait::SOCKETS);
    come(&mut g, b"ij");
    assert_eq!(g.recv(fd, &[3], WAITALL).unwrap(), b"ghi");
    assert_eq!(g.recv(fd, &[1], WAITALL).unwrap(), b"j");
    // Peeking does not wait for all, and neither does a descriptor that does not wait.
    come(&mut g, b"k");
    assert_eq!(g.recv(fd, &[8], PEEK | WAITALL).unwrap(), b"k");
    g.set_flags(fd, NONBLOCK).unwrap();
    assert_eq!(g.recv(fd, &[8], WAITALL).unwrap(), b"k");
    assert_eq!(g.recv(fd, &[8], WAITALL), Err(Errno::Again));
    g.set_flags(fd, 0).unwrap();
    assert_eq!(g.recv(fd, &[], WAITALL).unwrap(), b"");
    come(&mut g, b"lm");
    g.host.peers.get_mut(&name).unwrap().ended = true;
    assert_eq!(g.recv(fd, &[8], WAITALL).unwrap(), b"lm");
    assert_eq!(g.recv(fd, &[8], WAITALL).unwrap(), b"");
}

#[test]
fn what_is_sent_arrives_as_far_as_there_is_room() {
    let mut g = server();
    let name = g.host.connect(80, b"");
    let fd = g.accept(WEB).unwrap();
    g.host.peers.get_mut(&name).unwrap().room = 3;
    assert_eq!(g.send(fd, b"hello"), Ok(3));
    assert_eq!(blocked(g.send_call(fd, b"lo", 0)), Wait::SOCKETS);
    g.set_flags(fd, NONBLOCK).unwrap();
    assert_eq!(g.send(fd, b"lo"), Err(Errno::Again));
    assert_eq!(done(g.send_call(fd, b"lo", 1)), Err(Errno::Inval), "no flag is defined");
    assert_eq!(g.host.peers[&name].sent, b"hel");
}

#[test]
fn reading_and_writing_are_receiving_and_sending() {
    let mut g = server();
    let name = g.host.connect(80, b"ping");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.read(fd, 16).unwrap(), b"ping");
    assert_eq!(blocked(g.read_call(fd, 16)), Wait::SOCKETS);
    assert_eq!(g.write(fd, b"pong"), Ok(4));
    assert_eq!(g.host.peers[&name].sent, b"pong");
    assert_eq!(g.seek(fd, 0, 0), Err(Errno::Spipe));
    assert_eq!(g.truncate(fd, 0), Err(Errno::Inval));
}

#[test]
fn a_connection_that_was_cut_says_so_both_ways() {
    let mut g = server();
    let name = g.host.connect(80, b"lost");
    let fd = g.accept(WEB).unwrap();
    g.host.peers.get_mut(&name).unwrap().reset = true;
    assert_eq!(g.recv(fd, &[8], 0), Err(Errno::Connreset));
    assert_eq!(g.send(fd, b"x"), Err(Errno::Connreset));
    assert_eq!(g.read(fd, 8), Err(Errno::Connreset));
}

#[test]
fn shutting_down_ends_the_directions_that_were_named() {
    let mut g = server();
    let name = g.host.connect(80, b"");
    let fd = g.accept(WEB).unwrap();
    for how in [0, 4, 7] {
        assert_eq!(g.shutdown(fd, how), Err(Errno::Inval));
    }
    assert_eq!(g.shutdown(fd, SENDING), Ok(()));
    assert_eq!(g.host.peers[&name].shut, (false, true));
    assert_eq!(g.send(fd, b"x"), Err(Errno::Pipe));
    assert_eq!(blocked(g.recv_call(fd, &[1], 0)), Wait::SOCKETS);
    assert_eq!(g.shutdown(fd, RECEIVING | SENDING), Ok(()));
    assert_eq!(g.recv(fd, &[1], 0).unwrap(), b"");
}

#[test]
fn a_connection_ends_with_its_descriptor() {
    let mut g = server();
    let (one, two) = (g.host.connect(80, b""), g.host.connect(80, b""));
    let (first, second) = (g.accept(WEB).unwrap(), g.accept(WEB).unwrap());
    g.close(first).unwrap();
    assert!(!g.host.peers.contains_key(&one));
    assert_eq!(g.recv(first, &[1], 0), Err(Errno::Badf));
    // The number of the listener stands for the connection from here on, that of the connection for nothing.
    done(g.wasi.fd_renumber(&mut g.host, &mut g.mem, second, WEB)).unwrap();
    assert_eq!(g.send(WEB, b"x"), Ok(1));
    assert_eq!(g.send(second, b"x"), Err(Errno::Badf));
    done(g.wasi.fd_renumber(&mut g.host, &mut g.mem, ROOT, WEB)).unwrap();
    assert!(!g.host.peers.contains_key(&two), "what is replaced is closed");
}

#[test]
fn polling_a_socket_waits_for_connections_for_bytes_and_for_room() {
    let mut g = server();
    assert_eq!(g.poll(WEB, READ), Err(Wait::SOCKETS));
    let name = g.host.connect(80, b"");
    assert_eq!(g.poll(WEB, READ), Ok((Errno::Success, 1, 0)));
    assert_eq!(g.poll(WEB, WRITE).unwrap().0, Errno::Badf, "nothing is ever written to it");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.poll(fd, READ), Err(Wait::SOCKETS));
    let peer = g.host.peers.get_mut(&name).unwrap();
    (peer.coming, peer.room) = ([1, 2, 3].into(), 0);
    assert_eq!(g.poll(fd, READ), Ok((Errno::Success, 3, 0)));
    assert_eq!(g.poll(fd, WRITE), Err(Wait::SOCKETS));
    g.host.peers.get_mut(&name).unwrap().room = 10;
    assert_eq!(g.poll(fd, WRITE), Ok((Errno::Success, 10, 0)));
    g.host.peers.get_mut(&name).unwrap().reset = true;
    assert_eq!(g.poll(fd, READ).unwrap().2, 1, "it was hung up");
}

#[test]
fn each_call_takes_a_right_which_can_be_given_up() {
    let mut g = server();
    g.host.connect(80, b"x");
    let fd = g.accept(WEB).unwrap();
    g.set_rights(fd, rights::FD_READ, 0).unwrap();
    assert_eq!(g.send(fd, b"x"), Err(Errno::Notcapable));
    assert_eq!(g.shutdown(fd, SENDING), Err(Errno::Notcapable));
    assert_eq!(g.recv(fd, &[1], 0).unwrap(), b"x");
    g.set_rights(WEB, rights::SOCK_ACCEPT, rights::FD_READ).unwrap();
    g.host.connect(80, b"");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.fdstat(fd).unwrap().base, rights::FD_READ, "no more than the listener hands on");
    g.set_rights(WEB, 0, 0).unwrap();
    assert_eq!(g.accept(WEB), Err(Errno::Notcapable));
}

#[test]
fn what_is_no_connection_or_no_socket_is_refused() {
    let mut g = server();
    g.host.connect(80, b"");
    let fd = g.accept(WEB).unwrap();
    assert_eq!(g.accept(fd), Err(Errno::Inval), "it listens to nobody");
    assert_eq!(g.recv(WEB, &[1], 0), Err(Errno::Notconn));
    assert_eq!(g.send(WEB, b"x"), Err(Errno::Notconn));
    assert_eq!(g.shutdown(WEB, SENDING), Err(Errno::Notconn));
    assert_eq!(g.read(WEB, 1), Err(Errno::Notconn));
    assert_eq!(g.write(WEB, b"x"), Err(Errno::Notconn));
    for (fd, errno) in [(0, Errno::Notsock), (1, Errno::Notsock), (ROOT, Errno::Notsock), (99, Errno::Badf)] {
        assert_eq!(g.accept(fd), Err(errno));
        assert_eq!(g.recv(fd, &[1], 0), Err(errno));
        assert_eq!(g.send(fd, b"x"), Err(errno));
        assert_eq!(g.shutdown(fd, SENDING), Err(errno));
    }
}

#[test]
fn results_that_do_not_fit_into_memory_lose_nothing() {
    let mut g = server();
    g.host.connect(80, b"kept");
    let outside = g.mem.len() as u32 - 3;
    let (w, h, m) = (&mut g.wasi, &mut g.host, &mut g.mem);
    assert_eq!(done(w.sock_accept(h, m, WEB, 0, outside)), Err(Errno::Fault));
    let fd = g.accept(WEB).unwrap();
    let (iovs, count) = g.iovs(&[(DATA, 4)]);
    let (w, h, m) = (&mut g.wasi, &mut g.host, &mut g.mem);
    assert_eq!(done(w.sock_recv(h, m, fd, iovs, count, 0, outside, RESULT)), Err(Errno::Fault));
    assert_eq!(done(w.sock_recv(h, m, fd, iovs, count, 0, RESULT, outside + 2)), Err(Errno::Fault));
    assert_eq!(done(w.sock_send(h, m, fd, iovs, count, 0, outside)), Err(Errno::Fault));
    assert_eq!(g.recv(fd, &[8], 0).unwrap(), b"kept");
    assert_eq!(g.host.peers.values().next().unwrap().sent, b"");
}
