//! What the socket says of a machine's health.

use super::recoveries;
use crate::api::{KernelHealed, MachineHealth, Recovered, Refusal, RolledBack};
use crate::server::{Answer, Shared, on_thread};
use crate::session::Session;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use std::sync::Arc;
use utoipa::OpenApi;

/// This part of the interface.
#[derive(OpenApi)]
#[openapi(paths(health, faults, heal_boot, recover))]
pub struct Interface;

/// Its routes.
pub fn router() -> Router<Arc<Session>> {
    let router = Router::new()
        .route("/v1/health", get(health))
        .route("/v1/faults", get(faults))
        .route("/v1/heal", post(heal_boot))
        .route("/v1/recover", post(recover));
    #[cfg(any(debug_assertions, feature = "chaos"))]
    let router = router.route("/v1/chaos", post(chaos::inflict));
    router
}

/// How the machine fares.
#[utoipa::path(get, path = "/v1/health", responses((status = 200, body = MachineHealth)))]
async fn health(State(session): Shared) -> Answer<MachineHealth> {
    on_thread(session, |session| Ok(session.health())).await
}

/// The faults of its guest, and what was done about each, the oldest first.
#[utoipa::path(get, path = "/v1/faults", responses((status = 200, body = Vec<Recovered>)))]
async fn faults(State(session): Shared) -> Answer<Vec<Recovered>> {
    on_thread(session, |session| recoveries(session.history().machine())).await
}

/// Puts the kernel back to when it was last copied, and keeps all containers as they are.
#[utoipa::path(post, path = "/v1/heal",
    responses((status = 200, body = KernelHealed), (status = 409, body = Refusal)))]
async fn heal_boot(State(session): Shared) -> Answer<KernelHealed> {
    on_thread(session, |session| session.heal_boot()).await
}

/// Puts the machine back to its last good snapshot; where it was is kept.
#[utoipa::path(post, path = "/v1/recover",
    responses((status = 200, body = RolledBack), (status = 409, body = Refusal)))]
async fn recover(State(session): Shared) -> Answer<RolledBack> {
    on_thread(session, |session| session.panic_recover()).await
}

/// Faults to order, for tests of all this: not in release builds.
#[cfg(any(debug_assertions, feature = "chaos"))]
mod chaos {
    use super::{Answer, Shared, on_thread};
    use crate::error::ControlError;
    use crate::server::Body;
    use crate::session::Session;
    use axum::Json;
    use axum::extract::State;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use sentient_vmm::chaos::{Chaos, inflict as inflict_on};
    use sentient_vmm::volumes::Disorder;
    use serde::Deserialize;
    use std::time::Duration;

    /// How often an interrupt comes that is stuck.
    const STUCK: u32 = 300;

    /// How many calls of volumes fail, or write only half.
    const CALLS: u32 = 20;

    /// How long no file can be written.
    const FULL: Duration = Duration::from_millis(200);

    /// What is to be done to the guest.
    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Wanted {
        kind: Kind,
        /// Chooses where.
        #[serde(default)]
        seed: u64,
    }

    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(untagged)]
    enum Kind {
        Process(Process),
        Guest(Chaos),
    }

    /// What is done by this process, and not to the guest.
    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Process {
        /// A thread that works for a device panics.
        Thread,
        /// The devices raise their interrupts again and again.
        InterruptStuck,
        /// No file can be written for a while.
        DiskFull,
        /// The next calls of volumes fail.
        DeviceErrors,
        /// The next writes to volumes stop half way.
        ShortWrites,
    }

    pub async fn inflict(State(session): Shared, body: Body<Wanted>) -> Answer<String> {
        let Json(Wanted { kind, seed }) = body?;
        on_thread(session, move |session| match kind {
            Kind::Guest(kind) => to_guest(session, kind, seed),
            Kind::Process(Process::Thread) => {
                session.containers.kill_thread();
                Ok("the network's thread".into())
            }
            Kind::Process(Process::DiskFull) => fill_disk(),
            Kind::Process(Process::DeviceErrors) => {
                session.containers.disturb(Disorder { failing: CALLS, ..Disorder::default() });
                Ok(format!("{CALLS} calls of volumes"))
            }
            Kind::Process(Process::ShortWrites) => {
                session.containers.disturb(Disorder { short: CALLS, ..Disorder::default() });
                Ok(format!("{CALLS} writes to volumes"))
            }
            Kind::Process(Process::InterruptStuck) => {
                (0..STUCK).try_for_each(|_| to_guest(session, Chaos::InterruptDoubled, seed).map(drop))?;
                Ok(format!("{STUCK} interrupts of each device"))
            }
        })
        .await
    }

    /// To this process every disk is full for a while: the system lets it write no file at all (setrlimit(2)).
    fn fill_disk() -> Result<String, ControlError> {
        let usual = getrlimit(Resource::Fsize);
        let limit = |limit| setrlimit(Resource::Fsize, limit).map_err(|error| error.into());
        limit(Rlimit { current: Some(0), ..usual }).map_err(ControlError::io("limiting files"))?;
        std::thread::sleep(FULL);
        limit(usual).map_err(ControlError::io("limiting files"))?;
        Ok(format!("no file could be written for {FULL:?}"))
    }

    fn to_guest(session: &Session, kind: Chaos, seed: u64) -> Result<String, ControlError> {
        let done = session.door.stopped(move |stopped| inflict_on(stopped, kind, seed))??;
        // One that idles notices nothing before it is woken.
        session.guest.ask(0);
        Ok(done)
    }
}
