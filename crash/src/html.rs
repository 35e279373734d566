//! A machine's faults as a page for a browser.
//!
//! One file that refers to no other: it can be kept, mailed and opened anywhere. It has no script, and a
//! policy that forbids any, since what it shows comes from a guest: every text goes through `Html`, which
//! leaves no markup in it.

mod timeline;

use crate::printable::{Html, Line, Lines};
use crate::record::{RegisterTable, StackTable};
use crate::{CrashRecord, time};
use std::fmt;
use timeline::Timeline;

const STYLE: &str = include_str!("html/style.css");

/// What is told of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The machine's name.
    pub machine: String,
    /// Its id.
    pub id: String,
    /// When the page is made, in nanoseconds since 1970 (UTC).
    pub made_unix_ns: u64,
    /// Its faults, in any order.
    pub faults: Vec<Fault>,
    /// What was kept of some of them.
    pub crashes: Vec<CrashRecord>,
}

/// A fault of a machine's guest, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// When it was found, in nanoseconds since 1970 (UTC).
    pub unix_ns: u64,
    /// What it was: a word, as in the report of a run.
    pub kind: String,
    /// The same, for people.
    pub what: String,
    /// What was done: `rollback`, or `stop`.
    pub action: String,
    /// The snapshot that the machine stood at.
    pub before: Option<String>,
    /// The snapshot that it was put back to.
    pub to: Option<String>,
    /// How long the guest stood still, in microseconds.
    pub pause_us: u64,
    /// What has gone wrong with that.
    pub error: Option<String>,
}

/// How a fault ended, for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    PutBack,
    Ended,
    Other,
}

impl Fault {
    fn outcome(&self) -> Outcome {
        match (&self.to, self.action.as_str()) {
            (Some(_), _) => Outcome::PutBack,
            (None, "stop") => Outcome::Ended,
            (None, _) => Outcome::Other,
        }
    }
}

impl Outcome {
    /// Its class in the style sheet.
    const fn class(self) -> &'static str {
        match self {
            Self::PutBack => "back",
            Self::Ended => "ended",
            Self::Other => "other",
        }
    }
}

/// The page, in UTF-8.
#[must_use]
pub fn page(page: &Page) -> String {
    Document(page).to_string()
}

struct Document<'a>(&'a Page);

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Page { machine, id, made_unix_ns, faults, crashes } = self.0;
        let (machine, id, made) = (Html(Line(machine)), Html(Line(id)), time::utc(*made_unix_ns));
        writeln!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Faults of {machine}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <h1>Faults of {machine}</h1>\n\
             <p class=\"faint\"><code>{id}</code>, as of <time>{made}</time></p>"
        )?;
        write_summary(f, faults)?;
        if !faults.is_empty() {
            f.write_str("<h2>Timeline</h2>\n")?;
            write!(f, "{}", Timeline(faults))?;
            f.write_str(
                "<p class=\"faint\"><span class=\"key back\">&#9679;</span> put back to a snapshot \
                 <span class=\"key ended\">&#9632;</span> ended \
                 <span class=\"key other\">&#9650;</span> something else</p>\n",
            )?;
            write_table(f, faults)?;
        }
        if !crashes.is_empty() {
            f.write_str("<h2>What was kept</h2>\n")?;
            crashes.iter().try_for_each(|crash| write_crash(f, crash))?;
        }
        f.write_str("</body>\n</html>\n")
    }
}

fn write_summary(f: &mut fmt::Formatter<'_>, faults: &[Fault]) -> fmt::Result {
    let recovered = faults.iter().filter(|fault| fault.outcome() == Outcome::PutBack);
    let mut pauses: Vec<u64> = recovered.map(|fault| fault.pause_us).collect();
    pauses.sort_unstable();
    let pause = |us: Option<u64>| us.map_or("none".to_owned(), |us| format!("{} ms", time::millis(us)));
    let figures = [
        ("faults", faults.len().to_string()),
        ("recovered", pauses.len().to_string()),
        ("median pause", pause(median(&pauses))),
        ("longest pause", pause(pauses.last().copied())),
    ];
    f.write_str("<dl>\n")?;
    for (name, figure) in figures {
        writeln!(f, "<div><dt>{name}</dt><dd>{figure}</dd></div>")?;
    }
    f.write_str("</dl>\n")
}

/// The middle of sorted values, or halfway between the two that are.
fn median(sorted: &[u64]) -> Option<u64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if !sorted.len().is_multiple_of(2) {
        return Some(upper);
    }
    Some(sorted.get(sorted.len() / 2 - 1)?.midpoint(upper))
}

fn write_table(f: &mut fmt::Formatter<'_>, faults: &[Fault]) -> fmt::Result {
    f.write_str(
        "<h2>Faults</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>time (UTC)</th><th>kind</th><th>what</th>\
         <th>action</th><th>from snapshot</th><th>to snapshot</th><th>pause (ms)</th></tr></thead>\n<tbody>\n",
    )?;
    let mut in_order: Vec<&Fault> = faults.iter().collect();
    in_order.sort_by_key(|fault| fault.unix_ns);
    for fault in in_order {
        let Fault { unix_ns, kind, what, action, before, to, pause_us, error } = fault;
        let snapshot = |id: &Option<String>| Html(Line(id.as_deref().unwrap_or("none"))).to_string();
        write!(
            f,
            "<tr><td><time>{}</time></td><td>{}</td><td class=\"what\">{}",
            time::utc(*unix_ns),
            Html(Line(kind)),
            Html(Line(what))
        )?;
        if let Some(error) = error {
            write!(f, "<br><span class=\"key ended\">{}</span>", Html(Line(error)))?;
        }
        writeln!(
            f,
            "</td><td><span class=\"key {}\">{}</span></td><td class=\"id\">{}</td><td class=\"id\">{}</td>\
             <td class=\"number\">{}</td></tr>",
            fault.outcome().class(),
            Html(Line(action)),
            snapshot(before),
            snapshot(to),
            time::millis(*pause_us)
        )?;
    }
    f.write_str("</tbody>\n</table></div>\n")
}

fn write_crash(f: &mut fmt::Formatter<'_>, crash: &CrashRecord) -> fmt::Result {
    let CrashRecord { unix_ns, fault, what, message, registers, frames, stack, log, core } = crash;
    writeln!(
        f,
        "<details>\n<summary><time>{}</time> {}: {}</summary>",
        time::utc(*unix_ns),
        Html(Line(fault)),
        Html(Line(what))
    )?;
    if let Some(message) = message {
        write_section(f, "The kernel said", &Lines(message))?;
    }
    if let Some(registers) = registers {
        write_section(f, "Registers", &RegisterTable(registers))?;
    }
    let numbered = frames.iter().enumerate();
    let numbered = numbered.map(|(number, frame)| format!("#{number:<2} {:016x}  {frame}\n", frame.address));
    write_section(f, "Calls, the last one first", &numbered.collect::<String>())?;
    write_section(f, "Stack", &StackTable(stack))?;
    let log: Vec<_> = log.iter().map(|line| Line(line).to_string()).collect();
    write_section(f, "Log", &log.join("\n"))?;
    if let Some(core) = core {
        writeln!(f, "<p>Core: <code>{}</code></p>", Html(Line(core)))?;
    }
    f.write_str("</details>\n")
}

/// A heading and preformatted text, if there is any.
fn write_section(f: &mut fmt::Formatter<'_>, heading: &str, text: &impl fmt::Display) -> fmt::Result {
    let text = Html(text).to_string();
    if text.is_empty() {
        return Ok(());
    }
    writeln!(f, "<h3>{heading}</h3>\n<pre>{text}</pre>")
}

#[cfg(test)]
mod tests;
