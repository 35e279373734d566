//! What the page shows, and what it lets nobody put in.

use super::*;
use crate::record::tests::record;

/// A fault at a time, put back if that was what was done.
pub fn fault(unix_ns: u64, action: &str) -> Fault {
    Fault {
        unix_ns,
        kind: "guest-panic".into(),
        what: "the guest kernel panicked".into(),
        action: action.into(),
        before: Some("b0".into()),
        to: (action == "rollback").then(|| "a0".into()),
        pause_us: 12_345,
        error: None,
    }
}

fn full() -> Page {
    Page {
        machine: "web".into(),
        id: "0123abcd".into(),
        made_unix_ns: 1_709_210_096_789_000_000,
        faults: vec![fault(2_000_000_000, "stop"), fault(1_000_000_000, "rollback")],
        crashes: vec![record()],
    }
}

/// Whether each tag that is opened is closed, in order; the names of all that there are.
fn tags(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with('!')) {
        let (inside, _) = tag.split_once('>').unwrap_or((tag, ""));
        let name: String = inside.chars().take_while(|c| !c.is_whitespace()).collect();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "closed before it was opened"),
            None if inside.ends_with('/') || ["meta", "br"].contains(&name.as_str()) => all.push(name),
            None => {
                open.push(name.clone());
                all.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<String>::new(), "never closed");
    all
}

#[test]
fn a_page_shows_the_machine_its_faults_and_what_was_kept() {
    let page = page(&full());
    tags(&page);
    for expected in [
        "<title>Faults of web</title>",
        "<code>0123abcd</code>, as of <time>2024-02-29T12:34:56.789Z</time>",
        "<dt>faults</dt><dd>2</dd>",
        "<dt>recovered</dt><dd>1</dd>",
        "<dt>median pause</dt><dd>12.3 ms</dd>",
        "<dt>longest pause</dt><dd>12.3 ms</dd>",
        "<time>1970-01-01T00:00:01.000Z</time></td><td>guest-panic</td>",
        "<td class=\"id\">b0</td><td class=\"id\">a0</td><td class=\"number\">12.3</td>",
        "<td class=\"id\">b0</td><td class=\"id\">none</td>",
        "<summary><time>2024-02-29T12:34:56.789Z</time> guest-panic: the guest kernel panicked</summary>",
        "RIP    0000000000102012  RSP    0000000000007000",
        "#1  0000000000200105  ? main+0x5",
        "0000000000007020: 0000000000000004",
        "ready\nheap: 5 of 7 pages",
        "Core: <code>crash-1.core</code>",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(expected), "no {expected:?} in:\n{page}");
    }
}

#[test]
fn faults_are_in_the_order_of_their_times() {
    let page = page(&full());
    let at = |what: &str| page.rfind(what);
    assert!(at("<tr><td><time>1970-01-01T00:00:01.000Z") < at("<tr><td><time>1970-01-01T00:00:02.000Z"));
}

#[test]
fn a_page_refers_to_nothing_and_runs_nothing() {
    let page = page(&full());
    for forbidden in ["<script", "http://", "https://", "url(", "@import", "src=", "href=", " on"] {
        let inside_tags = page.split('<').filter_map(|tag| tag.split_once('>')).map(|(tag, _)| tag);
        let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
        for place in inside_tags.chain(style) {
            assert!(!place.contains(forbidden), "{forbidden} in {place}");
        }
    }
}

#[test]
fn no_text_of_a_guest_becomes_markup() {
    let evil = "</pre></details><script>alert('1')</script><img src=x onerror=\"x\">\x1b[2J\0\u{202e}&amp;";
    let text = || evil.to_owned();
    let mut page_of_evil = full();
    page_of_evil.machine = text();
    page_of_evil.id = text();
    for fault in &mut page_of_evil.faults {
        *fault = Fault {
            kind: text(),
            what: text(),
            action: text(),
            before: Some(text()),
            to: Some(text()),
            error: Some(text()),
            ..fault.clone()
        };
    }
    for crash in &mut page_of_evil.crashes {
        crash.fault = text();
        crash.what = text();
        crash.message = Some(text());
        crash.log = vec![text()];
        crash.core = Some(text());
        crash.frames.iter_mut().for_each(|frame| frame.function = Some(text()));
    }
    let shown = page(&page_of_evil);
    let names = tags(&shown);
    assert!(!names.iter().any(|name| name == "script" || name == "img"), "{names:?}");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
    assert!(shown.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"));
    assert!(shown.contains("onerror=&quot;x&quot;&gt;\u{fffd}[2J\u{fffd}\u{fffd}&amp;amp;"));
}

#[test]
fn a_machine_without_faults_has_a_page_that_says_so() {
    let page = page(&Page { machine: "calm".into(), ..Page::default() });
    tags(&page);
    assert!(
        page.contains("<dt>faults</dt><dd>0</dd>") && page.contains("<dt>median pause</dt><dd>none</dd>")
    );
    assert!(!page.contains("<svg") && !page.contains("<table") && !page.contains("<details"));
}

#[test]
fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[7]), Some(7));
    assert_eq!(median(&[1, 2, 100]), Some(2));
    assert_eq!(median(&[1, 2, 4, 100]), Some(3));
    assert_eq!(median(&[u64::MAX - 2, u64::MAX]), Some(u64::MAX - 1));
}
