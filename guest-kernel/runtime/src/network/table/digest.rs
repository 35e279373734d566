//! A digest of what is known of sockets, by which is found that somebody else has written there.
//!
//! It guards against mistakes, not against anybody who knows it, and is taken some thousand times a second: it has to be fast.

use super::{Look, Table};
use core::hash::{BuildHasher, Hash, Hasher};
use core::mem::discriminant;
use foldhash::fast::FixedState;
use smoltcp::iface::SocketSet;
use smoltcp::socket::Socket;

impl Table {
    /// Of all that makes a difference to whom what is sent, and what: names, owners and places of sockets, and what can be
    /// seen of each. What is in their buffers is not looked at.
    pub fn digest(&self, sockets: &SocketSet<'static>) -> u64 {
        let Self { listeners, connections, leaving, named, called, most, own_addresses, changes: _ } = self;
        let mut hasher = FixedState::with_seed(0).build_hasher();
        (listeners, connections, leaving).hash(&mut hasher);
        (named, called, most, own_addresses).hash(&mut hasher);
        for (handle, socket) in sockets.iter() {
            handle.hash(&mut hasher);
            if let Socket::Tcp(socket) = socket {
                Look::of(socket).hash(&mut hasher);
                (socket.recv_capacity(), socket.send_capacity()).hash(&mut hasher);
                (socket.local_endpoint(), socket.remote_endpoint()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

impl Hash for Look {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { state, received, sending } = self;
        (discriminant(state), received, sending).hash(hasher);
    }
}
