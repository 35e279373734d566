//! Console blocks: commands behind `$ `, and what they print.
//!
//! A command goes on while its lines end in a backslash or in `|`; the shell's `> ` in front of a further
//! line is not part of it. In the output `...` stands for any text within
//! a line, and for any number of lines where it is a line of its own.

/// A command and the lines below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// Its line in the document.
    pub line: usize,
    /// What is typed.
    pub text: String,
    /// What is shown.
    pub output: Vec<String>,
}

/// The commands of a document.
pub fn read(document: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut inside = false;
    let mut goes_on = false;
    for (number, line) in document.lines().enumerate() {
        if !inside || line == "```" {
            inside = line == "```console";
            goes_on = false;
        } else if goes_on {
            goes_on = is_open(line);
            if let Some(command) = commands.last_mut() {
                command.text.push('\n');
                command.text.push_str(line.strip_prefix("> ").unwrap_or(line));
            }
        } else if let Some(text) = line.strip_prefix("$ ") {
            goes_on = is_open(line);
            commands.push(Command { line: number + 1, text: text.to_owned(), output: Vec::new() });
        } else if let Some(command) = commands.last_mut() {
            command.output.push(line.to_owned());
        }
    }
    commands
}

/// Whether the command goes on in the next line.
fn is_open(line: &str) -> bool {
    line.ends_with('\\') || line.ends_with('|')
}

/// Whether `printed` is what `shown` says.
pub fn matches(shown: &[String], printed: &str) -> bool {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    lines_match(shown, &printed)
}

fn lines_match(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, printed.get(skipped..).unwrap_or_default()))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, more)| line_matches(line, first) && lines_match(rest, more)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let mut pieces = shown.split("...");
    let Some(mut left) = pieces.next().and_then(|start| printed.strip_prefix(start)) else { return false };
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or("");
    }
    left.is_empty()
}

#[test]
fn a_block_is_read_as_it_would_be_typed() {
    let document = "text\n```console\n$ zero |\n> one \\\n    two\nout\n\n$ three\n```\n$ not a command\n```sh\n$ nor this\n```\n";
    let commands = read(document);
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!(commands[0].text, "zero |\none \\\n    two");
    assert_eq!(commands[0].output, ["out", ""]);
    assert_eq!((commands[1].line, commands[1].text.as_str()), (8, "three"));
}

#[test]
fn dots_stand_for_text_and_for_lines() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&shown("a\nb"), "a\nb\n"));
    assert!(!matches(&shown("a\nb"), "a\n"));
    assert!(!matches(&shown("a"), "a\nb\n"));
    assert!(matches(&shown("a\n...\nd"), "a\nb\nc\nd\n"));
    assert!(matches(&shown("a\n...\nd"), "a\nd\n"));
    assert!(matches(&shown("took ... ms, ..."), "took 3.1 ms, all of it"));
    assert!(!matches(&shown("took ... ms"), "took 3.1 s"));
    assert!(matches(&shown("in 5.. ms"), "in 5.. ms"));
}
