//! Snapshots as people read them.

use sentient_control::api::SnapshotInfo;
use sentient_control::proofs::api::Transition;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// The beginning of an id that people see and type.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A time of microseconds.
pub fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn age(created_unix_ns: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = now.saturating_sub(created_unix_ns / 1_000_000_000);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Writes the tree, the newest first; a branch is drawn where a snapshot has several that follow it.
pub fn write(out: &mut dyn Write, list: &[SnapshotInfo]) -> io::Result<()> {
    let mut children: HashMap<Option<&str>, Vec<&SnapshotInfo>> = HashMap::new();
    for info in list {
        children.entry(info.parent.as_deref()).or_default().push(info);
    }
    let mut lines = Vec::new();
    let mut stack: Vec<(&SnapshotInfo, usize)> = Vec::new();
    for root in children.get(&None).into_iter().flatten() {
        stack.push((root, 0));
    }
    while let Some((info, column)) = stack.pop() {
        lines.push((info, column));
        let mut follow: Vec<&SnapshotInfo> =
            children.get(&Some(info.id.as_str())).into_iter().flatten().copied().collect();
        // The last one goes on in its parent's column; the others branch off.
        let main = follow.pop();
        for (number, branch) in follow.into_iter().enumerate() {
            stack.push((branch, column + 1 + number));
        }
        stack.extend(main.map(|main| (main, column)));
    }
    lines.reverse();
    for (info, column) in lines {
        let mark = if info.current { '@' } else { 'o' };
        let tags = match info.tags.as_slice() {
            [] => String::new(),
            tags => format!("  [{}]", tags.join(", ")),
        };
        let message =
            if info.message.is_empty() { String::new() } else { format!("  {}", one_line(&info.message)) };
        writeln!(
            out,
            "{:indent$}{mark}  {}  {:>6}  {:>6} pages  used {:>9}  of {:>9}{tags}{message}",
            "",
            short(&info.id),
            age(info.created_unix_ns),
            info.dirty_pages,
            info.used_bytes.map_or_else(|| "?".to_owned(), bytes),
            bytes(info.referenced_bytes),
            indent = column * 2,
        )?;
        for transition in &info.transitions {
            write_transition(out, transition, column * 2)?;
        }
    }
    for info in list {
        match (&info.problem, info.used_bytes) {
            (Some(problem), None) => {
                writeln!(out, "what {} uses is not known: {problem}", short(&info.id))?;
            }
            (Some(problem), Some(_)) => writeln!(out, "what is proved is not known: {problem}")?,
            (None, _) => {}
        }
    }
    Ok(())
}

/// How the machine came to be at the snapshot above.
fn write_transition(out: &mut dyn Write, transition: &Transition, indent: usize) -> io::Result<()> {
    let Transition { record, origin, proof, dirty, violations, problem, key_origin, .. } = transition;
    let with = match key_origin.as_deref() {
        Some("development") => " with a development key",
        _ => "",
    };
    let changed = match (origin.as_str(), dirty.as_slice()) {
        ("genesis", _) => String::new(),
        (_, []) => "; changed: nothing".to_owned(),
        (_, dirty) => format!("; changed: {}", dirty.join(", ")),
    };
    let proof = proof.name();
    writeln!(out, "{:indent$}   {origin} {record}: {proof}{with}{changed}", "")?;
    for violation in violations {
        writeln!(out, "{:indent$}   FLAGGED: {}", "", one_line(violation))?;
    }
    match problem {
        Some(problem) => writeln!(out, "{:indent$}   not proved: {}", "", one_line(problem)),
        None => Ok(()),
    }
}

/// A message comes from whoever made the snapshot: nothing of it reaches the terminal but text.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
