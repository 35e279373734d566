//! What contracts say, and what breaks them.

use sentient_abi::region::RegionKind;
use sentient_snapshot::PAGE_SIZE;
use sentient_zk::commitment::Slot;
use sentient_zk::contract::file::Rule;
use sentient_zk::contract::{Contract, ContractError, OnViolation, Violation};

use crate::machine::{Snapshot, first_snapshot, region, regions, snapshot};

fn violations(contract: &Contract, old: &Snapshot, new: &Snapshot) -> Vec<Violation> {
    contract.check(Some(&old.record), &new.record, &new.delta_from(old)).unwrap().violations
}

fn parse(rest: &str) -> Result<Contract, ContractError> {
    Contract::parse(&format!("version: 1\non_violation: reject\n{rest}"))
}

#[test]
fn the_built_in_contract_freezes_code_constants_and_images() {
    let contract = Contract::built_in().unwrap();
    assert_eq!(contract.on_violation, OnViolation::Flag);
    for number in 1..=17 {
        let kind = RegionKind::from_u32(number).unwrap();
        let frozen = [
            RegionKind::NucleusText,
            RegionKind::NucleusConstants,
            RegionKind::RuntimeText,
            RegionKind::RuntimeConstants,
            RegionKind::BootModule,
            RegionKind::Image,
        ];
        let expected = if frozen.contains(&kind) { Rule::Frozen } else { Rule::Mutable };
        assert_eq!(contract.rule(kind, None), expected, "{kind:?}");
        // It says so itself, and would without saying so.
        assert_eq!(parse("").unwrap().rule(kind, None), expected, "{kind:?}");
    }
    assert_eq!(contract.always_frozen().iter().count(), 5);
}

#[test]
fn mistakes_are_reported_with_their_line() {
    for (text, line, says) in [
        ("regions:\n  - { kind: nucleus-txt, rule: frozen }\n", "line 4", "nucleus-text"),
        ("regions:\n  - { kind: heap, rule: frozen }\n  - { kind: heap, rule: hot }\n", "line 5", "hot"),
        ("regions:\n  - { kind: heap, rule: frozen, colour: red }\n", "line 4", "colour"),
        ("regions:\n  - { rule: frozen }\n", "line 4", "kind or a container"),
        ("regions:\n  - { kind: heap, container: web, rule: frozen }\n", "line 4", "kind or a container"),
        ("limits: { dirty_pages: -1 }\n", "line 3", "dirty_pages"),
        ("limits: { pages: 1 }\n", "line 3", "pages"),
        ("on_violation: flag\n", "top level", "on_violation"),
        ("colour: red\n", "line 3", "colour"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(line) && error.contains(says), "{text:?}: {error}");
    }
    assert!(Contract::parse("version: 2\non_violation: flag\n").is_err());
    assert!(Contract::parse("version: 1\n").is_err());
    assert!(Contract::parse("").is_err());
    let long = format!("# {}\n", "x".repeat(64 << 10));
    assert!(matches!(parse(&long), Err(ContractError::Long { .. })));
}

#[test]
fn a_contract_is_named_by_every_byte_of_its_text() {
    let one = parse("").unwrap();
    assert_ne!(one.digest(), parse("# why\n").unwrap().digest());
    assert_eq!(one.digest(), parse("").unwrap().digest());
}

#[test]
fn a_changed_page_of_a_frozen_region_is_named() {
    let contract = Contract::built_in().unwrap();
    let before = first_snapshot();
    let good = snapshot(Some(&before), regions(), &[(5, 1), (8, 9)], b"state 1");
    assert_eq!(violations(&contract, &before, &good), []);
    let bad = snapshot(Some(&before), regions(), &[(2, 1), (3, 1), (5, 1)], b"state 1");
    let expected =
        Violation::Page { region: "nucleus-text".to_owned(), address: 2 * PAGE_SIZE as u64, pages: 2 };
    assert_eq!(violations(&contract, &before, &bad), [expected]);
}

#[test]
fn later_rules_win_and_containers_are_known_by_name() {
    let before = first_snapshot();
    let after = snapshot(Some(&before), regions(), &[(9, 9), (2, 2)], b"state 1");
    let frozen = parse("regions:\n  - { container: web-0x8000, rule: frozen }\n").unwrap();
    assert_eq!(violations(&frozen, &before, &after).len(), 2);
    let other = parse("regions:\n  - { container: mail, rule: frozen }\n").unwrap();
    assert_eq!(violations(&other, &before, &after).len(), 1);
    let mutable = parse("regions:\n  - { kind: nucleus-text, rule: mutable }\n").unwrap();
    assert_eq!(violations(&mutable, &before, &after), []);
    let again =
        "regions:\n  - { kind: nucleus-text, rule: mutable }\n  - { kind: nucleus-text, rule: frozen }\n";
    assert_eq!(violations(&parse(again).unwrap(), &before, &after).len(), 1);
}

#[test]
fn an_image_is_frozen_while_it_is_there() {
    let contract = Contract::built_in().unwrap();
    let before = first_snapshot();
    let image = Slot::of(RegionKind::Image as u32, 0);
    let changed = snapshot(Some(&before), regions(), &[(17, 9)], b"state 1");
    assert_eq!(violations(&contract, &before, &changed).len(), 1);
    assert!(contract.frozen(&before.record, &changed.record).unwrap().has(image));
    // Nobody runs it any more.
    let gone = snapshot(Some(&before), regions()[..3].to_vec(), &[], b"state 1");
    assert_eq!(violations(&contract, &before, &gone), []);
    // Another one is where it was.
    let mut others = regions();
    others[3].name = "image-0badcafe00".to_owned();
    let other = snapshot(Some(&before), others, &[(16, 9)], b"state 1");
    assert_eq!(violations(&contract, &before, &other), []);
    assert!(!contract.frozen(&before.record, &other.record).unwrap().has(image));
}

#[test]
fn an_image_that_comes_beside_one_that_stays_breaks_nothing() {
    let contract = Contract::built_in().unwrap();
    let before = first_snapshot();
    // Both are committed to in one slot.
    let mut more = regions();
    more.push(region(RegionKind::Image, 23, 20, 2));
    let after = snapshot(Some(&before), more, &[(20, 9)], b"state 1");
    assert_eq!(violations(&contract, &before, &after), []);
    assert!(
        !contract.frozen(&before.record, &after.record).unwrap().has(Slot::of(RegionKind::Image as u32, 0))
    );
}

#[test]
fn a_frozen_region_that_goes_or_moves_breaks_the_contract() {
    let contract = Contract::built_in().unwrap();
    let before = first_snapshot();
    let gone = snapshot(Some(&before), regions()[1..].to_vec(), &[], b"state 1");
    assert!(matches!(violations(&contract, &before, &gone)[..], [Violation::Layout { base: 0, .. }]));
    let mut grown = regions();
    grown[0].pages = 3;
    let grown = snapshot(Some(&before), grown, &[], b"state 1");
    assert_eq!(violations(&contract, &before, &grown).len(), 2);
}

#[test]
fn limits_are_kept() {
    let contract = parse("limits: { dirty_pages: 2, region_pages: 7 }\n").unwrap();
    let before = first_snapshot();
    let after = snapshot(Some(&before), regions(), &[(5, 7), (6, 7), (7, 7)], b"state 1");
    let found = violations(&contract, &before, &after);
    assert!(found.contains(&Violation::DirtyPages { pages: 3, limit: 2 }), "{found:?}");
    assert!(
        found.iter().any(|v| matches!(v, Violation::RegionPages { pages: 8, limit: 7, .. })),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn containers_that_share_a_slot_cannot_have_different_rules() {
    let mut regions = regions();
    regions.push(region(RegionKind::Container, 23, 20, 2));
    let before = snapshot(None, regions.clone(), &[], b"");
    let after = snapshot(Some(&before), regions, &[], b"");
    let contract = parse("regions:\n  - { container: web-0x8000, rule: frozen }\n").unwrap();
    let shared = contract.frozen(&before.record, &after.record);
    assert!(matches!(shared, Err(ContractError::Shared { .. })), "{shared:?}");
    let both = "regions:\n  - { kind: container, rule: frozen }\n";
    assert!(parse(both).unwrap().frozen(&before.record, &after.record).is_ok());
}
