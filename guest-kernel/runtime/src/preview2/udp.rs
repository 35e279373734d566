//! `wasi:sockets/udp` and `udp-create-socket`: there are no such sockets, which a program is told when it wants one.

use super::resources::{Network, Pollable};
use super::sockets::Answer;
use super::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::wasi::sockets::udp::{self, IncomingDatagram, OutgoingDatagram};
use super::wasi::sockets::udp_create_socket;
use crate::container::State;
use alloc::vec::Vec;
use wasmtime::component::Resource;

/// What nobody has: a program that names a handle of one is ended.
#[derive(Clone, Copy)]
pub enum Udp {}

impl udp_create_socket::Host for State {
    fn create_udp_socket(&mut self, _family: IpAddressFamily) -> Answer<Resource<Udp>> {
        Ok(Err(ErrorCode::NotSupported))
    }
}

impl udp::Host for State {}

impl udp::HostUdpSocket for State {
    fn start_bind(
        &mut self,
        socket: Resource<Udp>,
        _network: Resource<Network>,
        _local: IpSocketAddress,
    ) -> Answer<()> {
        match self.held(&socket)? {}
    }

    fn finish_bind(&mut self, socket: Resource<Udp>) -> Answer<()> {
        match self.held(&socket)? {}
    }

    fn stream(
        &mut self,
        socket: Resource<Udp>,
        _remote: Option<IpSocketAddress>,
    ) -> Answer<(Resource<Udp>, Resource<Udp>)> {
        match self.held(&socket)? {}
    }

    fn local_address(&mut self, socket: Resource<Udp>) -> Answer<IpSocketAddress> {
        match self.held(&socket)? {}
    }

    fn remote_address(&mut self, socket: Resource<Udp>) -> Answer<IpSocketAddress> {
        match self.held(&socket)? {}
    }

    fn address_family(&mut self, socket: Resource<Udp>) -> wasmtime::Result<IpAddressFamily> {
        match self.held(&socket)? {}
    }

    fn unicast_hop_limit(&mut self, socket: Resource<Udp>) -> Answer<u8> {
        match self.held(&socket)? {}
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<Udp>, _value: u8) -> Answer<()> {
        match self.held(&socket)? {}
    }

    fn receive_buffer_size(&mut self, socket: Resource<Udp>) -> Answer<u64> {
        match self.held(&socket)? {}
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<Udp>, _value: u64) -> Answer<()> {
        match self.held(&socket)? {}
    }

    fn send_buffer_size(&mut self, socket: Resource<Udp>) -> Answer<u64> {
        match self.held(&socket)? {}
    }

    fn set_send_buffer_size(&mut self, socket: Resource<Udp>, _value: u64) -> Answer<()> {
        match self.held(&socket)? {}
    }

    fn subscribe(&mut self, socket: Resource<Udp>) -> wasmtime::Result<Resource<Pollable>> {
        match self.held(&socket)? {}
    }

    fn drop(&mut self, socket: Resource<Udp>) -> wasmtime::Result<()> {
        match self.taken(socket)? {}
    }
}

impl udp::HostIncomingDatagramStream for State {
    fn receive(&mut self, stream: Resource<Udp>, _most: u64) -> Answer<Vec<IncomingDatagram>> {
        match self.held(&stream)? {}
    }

    fn subscribe(&mut self, stream: Resource<Udp>) -> wasmtime::Result<Resource<Pollable>> {
        match self.held(&stream)? {}
    }

    fn drop(&mut self, stream: Resource<Udp>) -> wasmtime::Result<()> {
        match self.taken(stream)? {}
    }
}

impl udp::HostOutgoingDatagramStream for State {
    fn check_send(&mut self, stream: Resource<Udp>) -> Answer<u64> {
        match self.held(&stream)? {}
    }

    fn send(&mut self, stream: Resource<Udp>, _datagrams: Vec<OutgoingDatagram>) -> Answer<u64> {
        match self.held(&stream)? {}
    }

    fn subscribe(&mut self, stream: Resource<Udp>) -> wasmtime::Result<Resource<Pollable>> {
        match self.held(&stream)? {}
    }

    fn drop(&mut self, stream: Resource<Udp>) -> wasmtime::Result<()> {
        match self.taken(stream)? {}
    }
}
