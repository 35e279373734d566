//! A network that is not ours: the machine asks for an address (DHCP, RFC 2131), and says which one it has.

use crate::report;
use alloc::string::String;
use core::fmt::Write;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4::{Event, Socket};
use smoltcp::wire::IpCidr;

/// The machine's place on it.
pub struct Outside {
    dhcp: SocketHandle,
}

impl Outside {
    /// Begins to ask.
    pub fn new(sockets: &mut SocketSet<'static>) -> Self {
        Self { dhcp: sockets.add(Socket::new()) }
    }

    /// Does not ask any more.
    pub fn leave(self, sockets: &mut SocketSet<'static>) {
        sockets.remove(self.dhcp);
    }

    /// Takes what was answered.
    pub fn look(&mut self, sockets: &mut SocketSet<'static>, interface: &mut Interface) {
        match sockets.get_mut::<Socket<'_>>(self.dhcp).poll() {
            None => {}
            Some(Event::Configured(config)) => {
                let (address, router) = (config.address, config.router);
                interface.update_ip_addrs(|addresses| {
                    addresses.clear();
                    // The first one; there is room for it.
                    let _ = addresses.push(IpCidr::Ipv4(address));
                });
                let routes = interface.routes_mut();
                routes.remove_default_ipv4_route();
                let mut line = String::new();
                let _ = write!(line, "this machine's address is {address}");
                if let Some(router) = router {
                    // It is the only one; there is room for it.
                    let _ = routes.add_default_ipv4_route(router);
                    let _ = write!(line, ", its router {router}");
                }
                report::say(format_args!("{line}"));
            }
            Some(Event::Deconfigured) => {
                // The first of them is nothing lost.
                let had = !interface.ip_addrs().is_empty();
                interface.update_ip_addrs(|addresses| addresses.clear());
                interface.routes_mut().remove_default_ipv4_route();
                if had {
                    report::say(format_args!("this machine has no address any more"));
                }
            }
        }
    }
}
