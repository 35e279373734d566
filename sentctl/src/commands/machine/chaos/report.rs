//! What came of a campaign's faults, counted by kind.

use super::FULL;
use super::victim::Outcome;
use crate::commands::bench::statistics::Series;
use sentient_control::api::Recovered;
use serde::Serialize;
use std::io::Write;

/// The action that puts back the kernel alone.
const HEAL_BOOT: &str = "heal-boot";

/// What came of all faults of a kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    kind: String,
    faults: u64,
    /// Noticed, and gone on from.
    recovered: u64,
    /// Of these: with the kernel alone put back.
    heal_boot: u64,
    /// Not noticed by anybody, with everything working.
    harmless: u64,
    /// Not working, and not known.
    stuck: u64,
    /// The machine's process is not there any more.
    ended: u64,
    /// Containers that went on as they were, of all there were in those faults that were recovered from.
    kept: u64,
    containers: u64,
    /// How long the guest stood still, in milliseconds: the median and the most.
    pause_ms: f64,
    pause_most_ms: f64,
    #[serde(skip)]
    pauses: Vec<f64>,
}

impl Tally {
    /// Of a kind of which there was no fault yet.
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    /// Counts a fault, with what is on record of it.
    pub fn count(&mut self, outcome: Outcome, fault: Option<&Recovered>) {
        self.faults += 1;
        match outcome {
            Outcome::Recovered => self.recovered += 1,
            Outcome::Harmless => self.harmless += 1,
            Outcome::Stuck => self.stuck += 1,
            Outcome::Ended => self.ended += 1,
        }
        let Some(fault) = fault else { return };
        self.pauses.push(fault.pause_us as f64 / 1e3);
        if fault.action == HEAL_BOOT {
            self.heal_boot += 1;
            self.kept += fault.kept.len() as u64;
            self.containers += (fault.kept.len() + fault.healed.len() + fault.lost.len()) as u64;
        }
    }

    /// Adds those of the same kind that another machine was done.
    pub fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.recovered += other.recovered;
        self.heal_boot += other.heal_boot;
        self.harmless += other.harmless;
        self.stuck += other.stuck;
        self.ended += other.ended;
        self.kept += other.kept;
        self.containers += other.containers;
        self.pauses.extend(other.pauses);
    }

    fn finished(mut self) -> Self {
        self.pause_most_ms = self.pauses.iter().copied().fold(0.0, f64::max);
        if !self.pauses.is_empty() {
            self.pause_ms = Series::new(std::mem::take(&mut self.pauses)).median();
        }
        self
    }
}

/// What went wrong.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// What containers said that was not so, and after which kind of fault.
    pub wrong: Vec<String>,
    /// How often a container whose own memory was changed, or what it had said and was on its way, said something wrong.
    hurt: u64,
    /// How often something is missing that a container has said while no file could be written.
    cut: u64,
    /// Faults that were not recovered from.
    pub failures: Vec<String>,
}

impl Findings {
    /// A container has said something wrong after a fault of this kind. One whose own memory was changed may, and so may one of which
    /// something was in a device's buffer that was changed; and what could not be written is missing.
    pub fn accuse(&mut self, kind: &str, wrong: &str) {
        match kind {
            "container" | "devices" => self.hurt += 1,
            FULL => self.cut += 1,
            kind => self.wrong.push(format!("{kind}: {wrong}")),
        }
    }

    /// Adds what another machine has come to.
    pub fn add(&mut self, other: Self) {
        self.wrong.extend(other.wrong);
        self.hurt += other.hurt;
        self.cut += other.cut;
        self.failures.extend(other.failures);
    }
}

/// A campaign.
#[derive(Debug, Serialize)]
pub struct Campaign {
    faults: u64,
    seed: u64,
    recovered_or_harmless: f64,
    #[serde(flatten)]
    findings: Findings,
    kinds: Vec<Tally>,
}

impl Campaign {
    /// Sums up what came of it.
    pub fn of(seed: u64, tallies: impl Iterator<Item = Tally>, findings: Findings) -> Self {
        let kinds: Vec<Tally> = tallies.filter(|tally| tally.faults > 0).map(Tally::finished).collect();
        let faults = kinds.iter().map(|tally| tally.faults).sum();
        let went_on: u64 = kinds.iter().map(|tally| tally.recovered + tally.harmless).sum();
        let recovered_or_harmless = went_on as f64 / u64::max(faults, 1) as f64;
        Self { faults, seed, recovered_or_harmless, findings, kinds }
    }

    /// Whether that is what is promised.
    pub fn is_well(&self) -> bool {
        self.findings.wrong.is_empty() && self.recovered_or_harmless >= 0.99
    }

    /// Says it to people.
    pub fn write(out: &mut dyn Write, campaign: &Self) -> std::io::Result<()> {
        writeln!(
            out,
            "{:18}{:>7}{:>11}{:>11}{:>10}{:>7}{:>7}{:>7}  PAUSE (MOST)",
            "KIND", "FAULTS", "RECOVERED", "HEAL-BOOT", "HARMLESS", "STUCK", "ENDED", "KEPT"
        )?;
        for tally in &campaign.kinds {
            let kept = match tally.containers {
                0 => "-".to_owned(),
                all => format!("{} %", tally.kept * 100 / all),
            };
            let Tally {
                kind,
                faults,
                recovered,
                heal_boot,
                harmless,
                stuck,
                ended,
                pause_ms,
                pause_most_ms,
                ..
            } = tally;
            writeln!(
                out,
                "{kind:18}{faults:>7}{recovered:>11}{heal_boot:>11}{harmless:>10}{stuck:>7}{ended:>7}{kept:>7}  {pause_ms:.1} ms ({pause_most_ms:.1})"
            )?;
        }
        let Findings { failures, wrong, .. } = &campaign.findings;
        failures.iter().try_for_each(|failure| writeln!(out, "NOT RECOVERED FROM: {failure}"))?;
        wrong.iter().try_for_each(|wrong| writeln!(out, "WRONG: {wrong}"))?;
        writeln!(
            out,
            "{} faults with seed {}: {:.1} % went on by themselves, {} wrong answers",
            campaign.faults,
            campaign.seed,
            campaign.recovered_or_harmless * 100.0,
            wrong.len()
        )
    }
}
