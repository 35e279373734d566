//! A repository's registry: which packages it has, signed.
//!
//! ```yaml
//! registry: 1
//! name: main
//! serial: 3                               # one more with every change
//! packages:
//! - name: greeter
//!   version: 1.2.0
//!   description: Says hello               # or nothing
//!   size: 12345
//!   digest: 6e5f...                       # the package's own
//! ```
//!
//! `signatures.yaml` beside it has the form that it has in a package, over SHA3-256 of [`DOMAIN`] and the registry's bytes.

use crate::tso::digest::Digest;
use crate::tso::meta::check_name;
use crate::tso::signature::{Key, Signatures, check_signer};
use crate::tso::{MAX_LEN as MAX_PACKAGE, Package, TsoError, yaml};
use semver::Version;
use serde::{Deserialize, Serialize};

/// Name of the file.
pub const REGISTRY: &str = "registry.yaml";
/// The version of the format that is read and written.
const VERSION: u64 = 1;
/// Most bytes of a registry.
pub const MAX_LEN: usize = 4 << 20;
/// Most bytes of its signatures.
pub const MAX_SIGNATURES: usize = 64 << 10;
/// Most packages in one.
const MAX_PACKAGES: usize = 10_000;
/// What stands before a registry's bytes where they are signed, so that the signature is of nothing else.
pub const DOMAIN: &[u8] = b"SentientOS registry 1\n";

/// What a repository has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    registry: u64,
    /// What the repository is called.
    pub name: String,
    /// Grows with every change: an older one is not taken for a newer one.
    pub serial: u64,
    /// Packages, by name, the newest of each first.
    pub packages: Vec<Offer>,
}

/// A package in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// What it is called.
    pub name: String,
    /// Which of them.
    pub version: Version,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Bytes of the file.
    pub size: u64,
    /// The package's digest.
    pub digest: Digest,
}

impl Offer {
    /// What is offered, of a package and its bytes.
    #[must_use]
    pub fn of(package: &Package<'_>, bytes: &[u8]) -> Self {
        Self {
            name: package.meta.name.clone(),
            version: package.meta.version.clone(),
            description: package.meta.description.clone(),
            size: bytes.len() as u64,
            digest: package.digest,
        }
    }

    /// The name of its file in a folder.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}-{}.tso", self.name, self.version)
    }

    /// The package that came where this was asked for.
    ///
    /// # Errors
    /// [`TsoError`] for what is no package, or another one.
    pub fn check<'a>(&self, bytes: &'a [u8]) -> Result<Package<'a>, TsoError> {
        let package = Package::open(bytes)?;
        if package.digest != self.digest {
            let problem = format!(
                "it promises {}:{} with digest {}, and what came is {}:{} with digest {}",
                self.name, self.version, self.digest, package.meta.name, package.meta.version, package.digest
            );
            return Err(TsoError::in_text(REGISTRY, problem));
        }
        Ok(package)
    }
}

impl Registry {
    /// One with these packages, in any order.
    ///
    /// # Errors
    /// [`TsoError::Text`] for what [`parse`](Self::parse) refuses, such as two packages of one name and version.
    pub fn new(name: &str, serial: u64, mut packages: Vec<Offer>) -> Result<Self, TsoError> {
        packages.sort_by(|a, b| (&a.name, &b.version).cmp(&(&b.name, &a.version)));
        let this = Self { registry: VERSION, name: name.to_owned(), serial, packages };
        this.checked()
    }

    /// Reads one. Nobody has signed it yet.
    ///
    /// # Errors
    /// [`TsoError::Text`] and [`TsoError::Version`].
    pub fn parse(text: &str) -> Result<Self, TsoError> {
        yaml::read::<Self>(REGISTRY, text, MAX_LEN, ("registry", VERSION))?.checked()
    }

    fn checked(self) -> Result<Self, TsoError> {
        let bad = |problem: String| Err(TsoError::in_text(REGISTRY, problem));
        check_name(&self.name)?;
        if self.packages.len() > MAX_PACKAGES {
            return bad(format!("{} packages; at most {MAX_PACKAGES} are allowed", self.packages.len()));
        }
        for offer in &self.packages {
            check_name(&offer.name)?;
            if offer.size > MAX_PACKAGE {
                let Offer { name, version, size, .. } = offer;
                return bad(format!(
                    "{name}:{version} has {size} bytes, and a package has at most {MAX_PACKAGE}"
                ));
            }
            if offer.description.chars().any(char::is_control) {
                return bad(format!("the description of {} has a control character", offer.name));
            }
        }
        let place = |offer: &Offer| (offer.name.clone(), offer.version.clone());
        for pair in self.packages.windows(2) {
            let [(name, newer), (next, older)] = [&pair[0], &pair[1]].map(place);
            if name > next || name == next && newer <= older {
                return bad(format!(
                    "{next}:{older} stands behind {name}:{newer}; packages are listed by name, the newest version \
                     first, and each once"
                ));
            }
        }
        Ok(self)
    }

    /// The newest package of a name, or the one of a version.
    #[must_use]
    pub fn find(&self, name: &str, version: Option<&Version>) -> Option<&Offer> {
        let mut named = self.packages.iter().filter(|offer| offer.name == name);
        match version {
            Some(version) => named.find(|offer| offer.version == *version),
            // Whoever wants one that is not finished says so.
            None => named.clone().find(|offer| offer.version.pre.is_empty()).or_else(|| named.next()),
        }
    }

    /// As text.
    ///
    /// # Errors
    /// [`TsoError::Text`].
    pub fn to_text(&self) -> Result<String, TsoError> {
        yaml::write(REGISTRY, self)
    }
}

/// A registry's text with its signatures, as they lie in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `registry.yaml`.
    pub registry: String,
    /// `signatures.yaml`.
    pub signatures: String,
}

impl Signed {
    /// Signs a registry.
    ///
    /// # Errors
    /// [`TsoError`].
    pub fn make(registry: &Registry, keys: &[Key]) -> Result<Self, TsoError> {
        let text = registry.to_text()?;
        let signatures = Signatures::make(&digest(&text), keys)?.to_text()?;
        Ok(Self { registry: text, signatures })
    }

    /// The registry, if the owner of `key` has signed it; and so has everybody else who is said to have.
    ///
    /// # Errors
    /// [`TsoError`].
    pub fn open(&self, key: &str) -> Result<Registry, TsoError> {
        let signatures = Signatures::parse(&self.signatures)?.checked(&digest(&self.registry))?;
        check_signer(&signatures, key)?;
        Registry::parse(&self.registry)
    }
}

fn digest(text: &str) -> Digest {
    Digest::of(&[DOMAIN, text.as_bytes()].concat())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::tso::signature::Algorithm;

    fn offer(name: &str, version: &str) -> Offer {
        Offer {
            name: name.to_owned(),
            version: Version::parse(version).unwrap(),
            description: String::new(),
            size: 10,
            digest: Digest::of(version.as_bytes()),
        }
    }

    fn some() -> Registry {
        let offers = [("b", "1.0.0"), ("a", "1.9.0"), ("a", "2.0.0-rc.1"), ("a", "1.10.0")];
        Registry::new("main", 3, offers.map(|(name, version)| offer(name, version)).to_vec()).unwrap()
    }

    #[test]
    fn packages_are_in_order_and_the_newest_that_is_finished_is_found() {
        let registry = some();
        let listed: Vec<String> =
            registry.packages.iter().map(|offer| format!("{}:{}", offer.name, offer.version)).collect();
        assert_eq!(listed, ["a:2.0.0-rc.1", "a:1.10.0", "a:1.9.0", "b:1.0.0"]);
        let found = |name: &str, version: Option<&str>| {
            let version = version.map(|version| Version::parse(version).unwrap());
            registry.find(name, version.as_ref()).map(|offer| offer.version.to_string())
        };
        assert_eq!(found("a", None).as_deref(), Some("1.10.0"));
        assert_eq!(found("a", Some("2.0.0-rc.1")).as_deref(), Some("2.0.0-rc.1"));
        assert_eq!((found("a", Some("1.0.0")), found("c", None)), (None, None));
        assert_eq!(Registry::parse(&registry.to_text().unwrap()).unwrap(), registry);
    }

    #[test]
    fn what_is_no_registry_is_refused_with_the_reason() {
        let text = some().to_text().unwrap();
        for (from, to, said) in [
            ("registry: 1", "registry: 2", "version 2"),
            ("registry: 1\n", "", "is missing"),
            ("name: main", "name: ../main", "name"),
            ("name: b\n", "name: B\n", "B"),
            ("version: 1.10.0", "version: 1.8.0", "stands behind"),
            ("version: 1.9.0", "version: 1.10.0", "each once"),
            ("size: 10", "size: 268435457", "at most"),
            ("serial: 3", "serial: -3", "serial"),
            ("serial: 3", "serial: 3\nmore: 1", "more"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let refused = Registry::parse(&changed).unwrap_err().to_string();
            assert!(refused.contains(said), "{to}: {refused}");
        }
        assert!(Registry::parse(&" ".repeat(MAX_LEN + 1)).is_err());
    }

    #[test]
    fn a_registry_is_its_signers_alone() {
        let keys = [1, 2].map(|byte| Key::new(Algorithm::Ed25519, &[byte; 32]));
        let [owner, other] = &keys;
        let (owner, other) = (owner.public().to_string(), other.public().to_string());
        let signed = Signed::make(&some(), &keys[..1]).unwrap();
        assert_eq!(signed.open(&owner).unwrap(), some());
        assert!(matches!(signed.open(&other), Err(TsoError::Signer { .. })));
        let both = Signed::make(&some(), &keys).unwrap();
        assert_eq!((both.open(&owner).unwrap(), both.open(&other).unwrap()), (some(), some()));
        for place in 0..signed.registry.len() {
            let mut bytes = signed.registry.clone().into_bytes();
            bytes[place] ^= 1;
            let Ok(registry) = String::from_utf8(bytes) else { continue };
            let changed = Signed { registry, ..signed.clone() };
            assert!(matches!(changed.open(&owner), Err(TsoError::Signature { .. })), "byte {place}");
        }
        // A signature of a package is none of a registry.
        let digest = Digest::of(signed.registry.as_bytes());
        let signatures = Signatures::make(&digest, &keys[..1]).unwrap().to_text().unwrap();
        let lifted = Signed { signatures, ..signed };
        assert!(lifted.open(&owner).is_err());
    }
}
