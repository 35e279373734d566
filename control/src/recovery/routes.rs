//! What the socket says of a machine's health.

use super::recoveries;
use crate::api::{MachineHealth, Recovered};
use crate::server::{Answer, Shared, on_thread};
use crate::session::Session;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;

/// This part of the interface.
#[derive(OpenApi)]
#[openapi(paths(health, faults))]
pub struct Interface;

/// Its routes.
pub fn router() -> Router<Arc<Session>> {
    let router = Router::new().route("/v1/health", get(health)).route("/v1/faults", get(faults));
    #[cfg(any(debug_assertions, feature = "chaos"))]
    let router = router.route("/v1/chaos", axum::routing::post(chaos::inflict));
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

/// Faults to order, for tests of all this: not in release builds.
#[cfg(any(debug_assertions, feature = "chaos"))]
mod chaos {
    use super::{Answer, Shared, on_thread};
    use crate::server::Body;
    use axum::Json;
    use axum::extract::State;
    use sentient_vmm::chaos::{Chaos, inflict as inflict_on};
    use serde::Deserialize;

    /// What is to be done to the guest.
    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Wanted {
        kind: Chaos,
        /// Chooses where.
        #[serde(default)]
        seed: u64,
    }

    pub async fn inflict(State(session): Shared, body: Body<Wanted>) -> Answer<String> {
        let Json(Wanted { kind, seed }) = body?;
        let inflict = move |session: &crate::session::Session| {
            let done = session.door.stopped(move |stopped| inflict_on(stopped, kind, seed))??;
            // One that idles notices nothing before it is woken.
            session.guest.ask(0);
            Ok(done)
        };
        on_thread(session, inflict).await
    }
}
