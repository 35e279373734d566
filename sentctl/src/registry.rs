//! Packages in OCI registries.
//!
//! A package is a WebAssembly artifact (tag-runtime.cncf.io, "Wasm OCI Artifact layout"): a manifest whose config says
//! that it is one, and a layer with the program, which other runtimes run, too. A second layer is the package, with all
//! that a program alone does not say: its permissions, its files, and who answers for it. The bytes follow from the
//! package: pushed twice, it is the same artifact.
//!
//! What comes from a registry is trusted as little as any file: its length is limited before it is read, its digest is
//! checked by the client, and then the package itself like every other.

use crate::errors::CommandError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use sentient_images::registry::{self, REGISTRY, Signed};
use sentient_images::tso::{MAX_LEN, PROGRAM, Package, SIGNATURES};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::env::var_os;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// How addresses of registries begin.
pub const SCHEME: &str = "oci://";
/// Media type of a WebAssembly artifact's config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Media type of its program.
const WASM: &str = "application/wasm";
/// Media type of a package.
const TSO: &str = "application/vnd.sentientos.tso.v1";
/// Media types of a repository's registry and of its signatures.
const REGISTRY_TYPE: &str = "application/vnd.sentientos.registry.v1+yaml";
const SIGNATURES_TYPE: &str = "application/vnd.sentientos.signatures.v1+yaml";
/// Media type of a config without anything in it.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// When every artifact was made, so that the same package is the same artifact.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// A layer's file name, for tools that write files.
const TITLE: &str = "org.opencontainers.image.title";

/// A place in a registry.
#[derive(Clone, Debug)]
pub struct Place {
    reference: Reference,
    protocol: ClientProtocol,
}

impl Place {
    /// Reads `oci://HOST[:PORT]/REPOSITORY[:TAG]`; without a tag it is `tag`, if there is one. Registries on this host
    /// are spoken to without TLS, and others if `plain`.
    ///
    /// # Errors
    /// [`CommandError::Usage`].
    pub fn parse(text: &str, tag: Option<&str>, plain: bool) -> Result<Self, CommandError> {
        let bad = |problem: &str| {
            let form = "oci://HOST[:PORT]/REPOSITORY:TAG, as oci://127.0.0.1:5000/me/hello:1.0.0";
            CommandError::Usage(format!("`{text}` is no place in a registry: {problem}; write {form}"))
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad("it does not begin with oci://"))?;
        let (host, repository) = rest.split_once('/').ok_or_else(|| bad("it has no repository"))?;
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(bad("its host has no dot and no port"));
        }
        let tagged = repository.contains([':', '@']);
        let whole = match tag {
            // What semver.org allows and a tag does not.
            Some(tag) if !tagged => format!("{rest}:{}", tag.replace('+', "_")),
            None if !tagged => return Err(bad("it has no tag")),
            _ => rest.to_owned(),
        };
        let reference = Reference::from_str(&whole).map_err(|error| bad(&error.to_string()))?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let here = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let protocol = if plain || here { ClientProtocol::Http } else { ClientProtocol::Https };
        Ok(Self { reference, protocol })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{SCHEME}{}", self.reference)
    }

    fn client(&self) -> Client {
        // The second one is told that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::new(ClientConfig { protocol: self.protocol.clone(), ..ClientConfig::default() })
    }

    fn failed(&self, error: &OciDistributionError) -> CommandError {
        CommandError::Registry { place: self.address(), problem: error.to_string() }
    }

    /// Puts a package there; gives the artifact's digest.
    ///
    /// # Errors
    /// [`CommandError::Registry`].
    pub fn push(&self, package: &Package<'_>, bytes: &[u8]) -> Result<String, CommandError> {
        let (layers, config, annotations) = artifact(package, bytes);
        let failed = |error: OciDistributionError| self.failed(&error);
        let mut manifest = OciImageManifest::build(&layers, &config, Some(annotations));
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.into());
        let auth = auth(self.reference.resolve_registry());
        let pushing = self.client();
        let done = wait(pushing.push(&self.reference, &layers, config, &auth, Some(manifest)))?;
        done.map_err(failed)?;
        let (_, digest) = wait(self.client().pull_manifest(&self.reference, &auth))?.map_err(failed)?;
        Ok(digest)
    }

    /// Gets the package that is there: its bytes, of which nothing is known but their digest.
    ///
    /// # Errors
    /// [`CommandError::Registry`], also for what is there and no package.
    pub fn pull(&self) -> Result<Vec<u8>, CommandError> {
        let refused = |problem: String| CommandError::Registry { place: self.address(), problem };
        let (client, auth) = (self.client(), auth(self.reference.resolve_registry()));
        let manifest = self.manifest(&client, &auth, "package")?;
        let layer = manifest.layers.iter().find(|layer| layer.media_type == TSO).ok_or_else(|| {
            let there: Vec<&str> = manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
            refused(format!("what is there is no package of SentientOS; it has {}", there.join(", ")))
        })?;
        self.blob(&client, layer, MAX_LEN).map_err(refused)
    }

    /// Puts a repository's registry there.
    ///
    /// # Errors
    /// [`CommandError::Registry`].
    pub fn push_registry(&self, signed: &Signed) -> Result<(), CommandError> {
        let layer = |text: &str, media_type: &str, title: &str| {
            ImageLayer::new(text.as_bytes().to_vec(), media_type.into(), titled(title.to_owned()))
        };
        let layers = vec![
            layer(&signed.registry, REGISTRY_TYPE, REGISTRY),
            layer(&signed.signatures, SIGNATURES_TYPE, SIGNATURES),
        ];
        // There is nothing to configure (image-spec, "Guidelines for Artifact Usage").
        let config = Config::new(b"{}".to_vec(), EMPTY.into(), None);
        let mut manifest = OciImageManifest::build(&layers, &config, None);
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.into());
        manifest.artifact_type = Some(REGISTRY_TYPE.into());
        let (client, auth) = (self.client(), auth(self.reference.resolve_registry()));
        let done = wait(client.push(&self.reference, &layers, config, &auth, Some(manifest)))?;
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Gets the registry that is there, of which nothing is known but that it is text.
    ///
    /// # Errors
    /// [`CommandError::Registry`], also for what is there and no registry.
    pub fn pull_registry(&self) -> Result<Signed, CommandError> {
        let refused = |problem: String| CommandError::Registry { place: self.address(), problem };
        let (client, auth) = (self.client(), auth(self.reference.resolve_registry()));
        let manifest = self.manifest(&client, &auth, "registry")?;
        let text = |media_type: &str, most: usize| {
            let layer = manifest.layers.iter().find(|layer| layer.media_type == media_type);
            let layer = layer.ok_or_else(|| "what is there is no registry of packages".to_owned())?;
            let bytes = self.blob(&client, layer, most as u64)?;
            String::from_utf8(bytes).map_err(|error| error.to_string())
        };
        Ok(Signed {
            registry: text(REGISTRY_TYPE, registry::MAX_LEN).map_err(refused)?,
            signatures: text(SIGNATURES_TYPE, registry::MAX_SIGNATURES).map_err(refused)?,
        })
    }

    /// The manifest of the one artifact that is there, which should be a `wanted`.
    fn manifest(
        &self,
        client: &Client,
        auth: &RegistryAuth,
        wanted: &str,
    ) -> Result<OciImageManifest, CommandError> {
        let pulled = wait(client.pull_manifest(&self.reference, auth))?;
        match pulled.map_err(|error| self.failed(&error))? {
            (OciManifest::Image(manifest), _) => Ok(manifest),
            _ => Err(CommandError::Registry {
                place: self.address(),
                problem: format!("what is there is an index of several images, and no {wanted}"),
            }),
        }
    }

    fn blob(&self, client: &Client, layer: &OciDescriptor, max: u64) -> Result<Vec<u8>, String> {
        let most = usize::try_from(layer.size).ok().filter(|size| *size as u64 <= max);
        let most =
            most.ok_or_else(|| format!("a part of it has {} bytes, and at most {max} are read", layer.size))?;
        let mut bytes = Bounded { bytes: Vec::new(), most };
        let pulled = wait(client.pull_blob(&self.reference, layer, &mut bytes));
        pulled.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if bytes.bytes.len() != most {
            return Err(format!("a part of it has {} bytes, and {most} were announced", bytes.bytes.len()));
        }
        Ok(bytes.bytes)
    }
}

/// A package as the parts of an artifact.
fn artifact(package: &Package<'_>, bytes: &[u8]) -> (Vec<ImageLayer>, Config, BTreeMap<String, String>) {
    let meta = &package.meta;
    let file = format!("{}-{}.tso", meta.name, meta.version);
    let layers = vec![
        ImageLayer::new(package.program.to_vec(), WASM.into(), titled(PROGRAM.to_owned())),
        ImageLayer::new(bytes.to_vec(), TSO.into(), titled(file)),
    ];
    let digests: Vec<String> = layers.iter().map(ImageLayer::sha256_digest).collect();
    let config = json!({
        "created": CREATED,
        "author": Value::Null,
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": digests,
        "component": Value::Null,
    });
    let config = Config::new(config.to_string().into_bytes(), CONFIG.into(), None);
    let mut annotations = BTreeMap::from([
        (TITLE.to_owned(), meta.name.clone()),
        ("org.opencontainers.image.version".to_owned(), meta.version.to_string()),
    ]);
    if !meta.description.is_empty() {
        annotations.insert("org.opencontainers.image.description".to_owned(), meta.description.clone());
    }
    (layers, config, annotations)
}

/// The annotations of a layer with a file name.
fn titled(title: String) -> Option<BTreeMap<String, String>> {
    Some(BTreeMap::from([(TITLE.to_owned(), title)]))
}

/// Runs a future to its end, on this thread.
fn wait<F: Future>(work: F) -> Result<F::Output, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(CommandError::io("setting up the connection"))?.block_on(work))
}

/// Bytes up to a number.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl AsyncWrite for &mut Bounded {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.len() > this.most - this.bytes.len() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "more bytes came than were announced",
            )));
        }
        this.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a registry is told of who asks: as podman and docker have written it down (containers-auth.json(5)), or
/// nothing.
fn auth(registry: &str) -> RegistryAuth {
    let under = |variable: &str, path: &str| var_os(variable).map(|folder| PathBuf::from(folder).join(path));
    let files = [
        var_os("REGISTRY_AUTH_FILE").map(PathBuf::from),
        under("XDG_RUNTIME_DIR", "containers/auth.json"),
        under("HOME", ".docker/config.json"),
    ];
    let known = files.into_iter().flatten().find_map(|file| {
        let text = std::fs::read(&file).ok()?;
        let all: Value = serde_json::from_slice(&text).ok()?;
        let word = STANDARD.decode(all.get("auths")?.get(registry)?.get("auth")?.as_str()?).ok()?;
        let word = String::from_utf8(word).ok()?;
        let (user, password) = word.split_once(':')?;
        Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()))
    });
    known.unwrap_or(RegistryAuth::Anonymous)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_registries_of_this_host_are_spoken_to_plainly() {
        let parse = |text: &str, tag| Place::parse(text, tag, false);
        let here = parse("oci://127.0.0.1:5000/me/hello:1", None).unwrap();
        assert_eq!(here.address(), "oci://127.0.0.1:5000/me/hello:1");
        assert!(matches!(here.protocol, ClientProtocol::Http));
        let there = parse("oci://ghcr.io/me/hello", Some("1.0.0+2")).unwrap();
        assert_eq!(there.address(), "oci://ghcr.io/me/hello:1.0.0_2");
        assert!(matches!(there.protocol, ClientProtocol::Https));
        let plain = Place::parse("oci://registry.lan/hello:1", None, true).unwrap();
        assert!(matches!(plain.protocol, ClientProtocol::Http));
        for bad in [
            "",
            "hello:1",
            "oci://",
            "oci://hello",
            "oci://hello/world:1",
            "oci://127.0.0.1:5000/me/hello",
            "oci://127.0.0.1:5000/me/HELLO:1",
            "oci://127.0.0.1:5000/../x:1",
            "http://127.0.0.1:5000/me/hello:1",
        ] {
            assert!(matches!(parse(bad, None), Err(CommandError::Usage(_))), "{bad}");
        }
    }
}
