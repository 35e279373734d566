//! What names of hosts stand for, as this host has it: by `/etc/hosts` and the name servers of `/etc/resolv.conf`.
//!
//! A thread of its own, which there is from the first name on, waits for all of them at once. The host's settings are read for
//! each name: a machine may run for longer than they hold.

use super::{Command, Shared};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use sentient_abi::network::calls::Status;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who looks names up.
pub(super) struct Names {
    shared: Arc<Shared>,
    /// There are never more questions than the gateway has callers.
    questions: Option<UnboundedSender<(u64, String)>>,
}

impl Names {
    /// Answers are [told](Command::Found) there.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, questions: None }
    }

    /// Looks a name up, for whoever is called `caller`.
    ///
    /// # Errors
    /// That there can be no thread for it.
    pub fn ask(&mut self, caller: u64, name: String) -> io::Result<()> {
        let questions = match &self.questions {
            Some(questions) => questions,
            None => self.questions.insert(employ(Arc::clone(&self.shared))?),
        };
        // It lives as long as this.
        let _ = questions.send((caller, name));
        Ok(())
    }
}

fn employ(shared: Arc<Shared>) -> io::Result<UnboundedSender<(u64, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, questions) = unbounded_channel();
    let work = move || runtime.block_on(answer_all(questions, shared));
    std::thread::Builder::new().name("names".into()).spawn(work)?;
    Ok(sender)
}

async fn answer_all(mut questions: UnboundedReceiver<(u64, String)>, shared: Arc<Shared>) {
    while let Some((caller, name)) = questions.recv().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let found = tokio::time::timeout(PATIENCE, look_up(&name)).await;
            shared.tell(Command::Found { caller, found: found.unwrap_or(Err(Status::NoResolver)) });
        });
    }
}

/// Addresses of a name, those of IPv4 first.
async fn look_up(name: &str) -> Result<Vec<IpAddr>, Status> {
    let failed = |error: NetError| {
        tracing::debug!(name, %error, "a name was not found");
        if error.is_no_records_found() { Status::NoSuchName } else { Status::NoResolver }
    };
    let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let found = builder.build().map_err(failed)?.lookup_ip(name).await.map_err(failed)?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}
