//! Proofs over the socket.

use super::api::{
    ChainVerified, KeyInfo, PinKeys, ProofsMade, Prove, RollupMade, SnarkjsProof, SolidityVerifier,
    VerifyChain,
};
use super::{checking, exporting, listing, rollups, worker};
use crate::api::Refusal;
use crate::server::{Answer, Body, Named, Shared, on_thread};
use crate::session::Session;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use std::sync::Arc;
use utoipa::OpenApi;

/// The interface, as OpenAPI describes it.
#[derive(OpenApi)]
#[openapi(paths(keys, pin, verify, prove, rollup, snarkjs, solidity))]
pub(crate) struct Interface;

/// The routes.
pub(crate) fn router() -> Router<Arc<Session>> {
    Router::new()
        .route("/v1/zk/keys", get(keys))
        .route("/v1/zk/pin", put(pin))
        .route("/v1/zk/verify", post(verify))
        .route("/v1/zk/prove", post(prove))
        .route("/v1/zk/rollup", post(rollup))
        .route("/v1/zk/proofs/{snapshot}", get(snarkjs))
        .route("/v1/zk/solidity", get(solidity))
}

/// The home's key sets.
#[utoipa::path(get, path = "/v1/zk/keys", responses((status = 200, body = Vec<KeyInfo>)))]
async fn keys(State(session): Shared) -> Answer<Vec<KeyInfo>> {
    on_thread(session, |session| {
        let history = session.history();
        listing::keys(history.proofs().keyring(), Some(history.machine()))
    })
    .await
}

/// Pins the machine to a key set; what was proved with another is proved again.
#[utoipa::path(put, path = "/v1/zk/pin", request_body = PinKeys,
    responses((status = 200, body = KeyInfo), (status = 404, body = Refusal)))]
async fn pin(State(session): Shared, body: Body<PinKeys>) -> Answer<KeyInfo> {
    let Json(wanted) = body?;
    on_thread(session, move |session| worker::pin(session.history(), &wanted.key)).await
}

/// Checks the chain, its proofs, and the stored snapshots against it.
#[utoipa::path(post, path = "/v1/zk/verify", request_body = VerifyChain,
    responses((status = 200, body = ChainVerified), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn verify(State(session): Shared, body: Body<VerifyChain>) -> Answer<ChainVerified> {
    let Json(wanted) = body?;
    on_thread(session, move |session| checking::verify_chain(session.history(), &wanted)).await
}

/// Proves what is not proved yet, and answers when that is done.
#[utoipa::path(post, path = "/v1/zk/prove", request_body = Prove,
    responses((status = 200, body = ProofsMade), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn prove(State(session): Shared, body: Body<Prove>) -> Answer<ProofsMade> {
    let Json(wanted) = body?;
    on_thread(session, move |session| worker::prove(session.history(), wanted.snapshot.as_deref())).await
}

/// Writes what is proved into files that a third party can check alone.
#[utoipa::path(post, path = "/v1/zk/rollup",
    responses((status = 200, body = Vec<RollupMade>), (status = 409, body = Refusal)))]
async fn rollup(State(session): Shared) -> Answer<Vec<RollupMade>> {
    on_thread(session, |session| rollups::make(session.history())).await
}

/// The proof of the transition to a snapshot, as snarkjs wants it.
#[utoipa::path(get, path = "/v1/zk/proofs/{snapshot}", params(("snapshot" = String, Path)),
    responses((status = 200, body = SnarkjsProof), (status = 404, body = Refusal), (status = 409, body = Refusal)))]
async fn snarkjs(State(session): Shared, snapshot: Named) -> Answer<SnarkjsProof> {
    let Path(name) = snapshot?;
    on_thread(session, move |session| exporting::snarkjs(session.history(), &name)).await
}

/// A contract that checks the machine's proofs on Ethereum.
#[utoipa::path(get, path = "/v1/zk/solidity",
    responses((status = 200, body = SolidityVerifier), (status = 409, body = Refusal)))]
async fn solidity(State(session): Shared) -> Answer<SolidityVerifier> {
    on_thread(session, |session| exporting::solidity(session.history())).await
}
