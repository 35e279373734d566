//! The text of a contract.
//!
//! ```yaml
//! version: 1
//! on_violation: reject            # or flag, or rollback
//! regions:
//!   - { kind: nucleus-data, rule: frozen }
//!   - { container: web, rule: mutable }
//!   - { kind: image, rule: frozen }
//! limits: { dirty_pages: 4096, region_pages: 65536 }
//! ```
//!
//! Later rules win over earlier ones, all of them over the built-in ones: kernel text and constants, boot
//! module and images are frozen, everything else is mutable.

use sentient_abi::region::RegionKind;
use serde::Deserialize;
use sha3::{Digest, Sha3_256};

use crate::commitment::{Slot, SlotSet};

/// What a contract's digest begins with.
pub const CONTRACT_DOMAIN: &[u8] = b"SentientOS 2026 contract v1";
/// Most bytes of a contract.
pub const MAX_LEN: usize = 64 << 10;
/// Most rules.
pub const MAX_RULES: usize = 256;
/// The contract of machines that have none of their own.
pub const DEFAULT: &str = include_str!("default.zky");

/// Kinds that are frozen unless a rule says otherwise, without images.
const FROZEN: [RegionKind; 5] = [
    RegionKind::NucleusText,
    RegionKind::NucleusConstants,
    RegionKind::RuntimeText,
    RegionKind::RuntimeConstants,
    RegionKind::BootModule,
];

/// Why a contract was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Too long to be one.
    #[error("the contract has {len} bytes, and at most {MAX_LEN} are allowed; shorten it")]
    Long {
        /// Its length.
        len: usize,
    },
    /// Not what a contract looks like. Says line and column.
    #[error("the contract cannot be read: {problem}; correct it there")]
    Syntax {
        /// What is wrong, and where.
        problem: String,
    },
    /// Two rules for regions that share a slot.
    #[error(
        "the contract freezes {frozen:?} and not {mutable:?}, which are proved together (slot {slot}); \
         give both the same rule, or end one of the two containers"
    )]
    Shared {
        /// The region that may not change.
        frozen: String,
        /// The region that may.
        mutable: String,
        /// Where both are committed to.
        slot: String,
    },
}

/// What may become of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// It stays what it is.
    Frozen,
    /// It may change.
    Mutable,
}

/// What to do about a transition that breaks the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnViolation {
    /// The snapshot is not taken.
    Reject,
    /// It is taken, and marked in the chain.
    Flag,
    /// It is not taken, and the machine is put back to the last one.
    Rollback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Kind(RegionKind);

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        // 0 is no region.
        let kinds = || (1..=u32::from(u8::MAX)).map_while(RegionKind::from_u32);
        kinds().find(|kind| kind.name() == name).map(Self).ok_or_else(|| {
            let names: Vec<&str> = kinds().map(RegionKind::name).collect();
            format!("there is no kind of region {name:?}; there are {}", names.join(", "))
        })
    }
}

/// A rule: for all regions of a kind, or for what belongs to a container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Line")]
struct Regions {
    of: Selector,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Selector {
    Kind(RegionKind),
    Container(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Option<Kind>,
    container: Option<String>,
    rule: Rule,
}

impl TryFrom<Line> for Regions {
    type Error = &'static str;

    fn try_from(line: Line) -> Result<Self, &'static str> {
        let of = match (line.kind, line.container) {
            (Some(Kind(kind)), None) => Selector::Kind(kind),
            (None, Some(name)) => Selector::Container(name),
            _ => return Err("a rule has a kind or a container"),
        };
        Ok(Self { of, rule: line.rule })
    }
}

/// How much may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most pages that may differ from one snapshot to the next.
    pub dirty_pages: Option<u64>,
    /// Most pages of one region.
    pub region_pages: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: Version,
    on_violation: OnViolation,
    #[serde(default)]
    regions: Vec<Regions>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 { Ok(Self) } else { Err(format!("version {number}, and this build reads version 1")) }
    }
}

/// A contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// What to do about a transition that breaks it.
    pub on_violation: OnViolation,
    /// How much may change.
    pub limits: Limits,
    rules: Vec<Regions>,
    text: String,
}

impl Contract {
    /// The contract of a text.
    ///
    /// # Errors
    ///
    /// [`ContractError::Long`], and [`ContractError::Syntax`] with line and column.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        if text.len() > MAX_LEN {
            return Err(ContractError::Long { len: text.len() });
        }
        let parsed: Text = serde_yaml::from_str(text).map_err(|error| {
            // serde_yaml gives no place for a field that is missing or twice at the top level.
            let problem = error.to_string();
            let place = if problem.contains(" at line ") { "" } else { ", at the top level" };
            ContractError::Syntax { problem: format!("{problem}{place}") }
        })?;
        let Text { version: Version, on_violation, regions: rules, limits } = parsed;
        if rules.len() > MAX_RULES {
            let problem = format!("{} rules, and at most {MAX_RULES} are allowed", rules.len());
            return Err(ContractError::Syntax { problem });
        }
        Ok(Self { on_violation, limits, rules, text: text.to_owned() })
    }

    /// [`DEFAULT`].
    ///
    /// # Errors
    ///
    /// None: a test parses it.
    pub fn built_in() -> Result<Self, ContractError> {
        Self::parse(DEFAULT)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is called in statements.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha3_256::new();
        hasher.update(CONTRACT_DOMAIN);
        hasher.update(&self.text);
        hasher.finalize().into()
    }

    /// What holds for a region; `container` is the name of the one it is.
    #[must_use]
    pub fn rule(&self, kind: RegionKind, container: Option<&str>) -> Rule {
        let applies = |rule: &&Regions| match &rule.of {
            Selector::Kind(wanted) => *wanted == kind,
            Selector::Container(name) => kind == RegionKind::Container && container == Some(name),
        };
        let built_in =
            if FROZEN.contains(&kind) || kind == RegionKind::Image { Rule::Frozen } else { Rule::Mutable };
        self.rules.iter().rev().find(applies).map_or(built_in, |rule| rule.rule)
    }

    /// Slots that are frozen whatever regions there are: those of the kernel's kinds. Whoever has the text
    /// and no record can check that a statement has them.
    #[must_use]
    pub fn always_frozen(&self) -> SlotSet {
        let kinds = (1..=u32::from(u8::MAX)).map_while(RegionKind::from_u32);
        kinds
            .filter(|kind| !matches!(kind, RegionKind::Container | RegionKind::Image))
            .filter(|kind| self.rule(*kind, None) == Rule::Frozen)
            .map(|kind| Slot::of(kind as u32, 0))
            .collect()
    }
}
