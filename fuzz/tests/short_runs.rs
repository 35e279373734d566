//! Every target gets a fixed number of inputs, the same ones on every machine.

use sentient_fuzz::{TARGETS, mutate, targets};
use std::collections::HashSet;
use std::time::{Duration, Instant};

const SEED: u64 = 0x5e47;

fn short_run(name: &str) {
    let target = targets::find(name);
    assert!(target.is_some(), "{name} is a target");
    let Some(target) = target else { return };
    let corpus = (target.corpus)();
    for valid in &corpus {
        (target.run)(valid);
    }
    for iteration in 0..target.short_run {
        let input = mutate::input(target, &corpus, SEED, iteration);
        let began = Instant::now();
        (target.run)(&input);
        assert!(began.elapsed() < Duration::from_secs(20), "input {iteration} took {:?}", began.elapsed());
    }
}

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            short_run(stringify!($name));
        }
    )*};
}

mod nothing_breaks {
    use super::short_run;
    sentient_fuzz::for_each_target!(tests);
}

#[test]
fn every_target_has_a_name_of_its_own_and_a_corpus() {
    let names: HashSet<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    for target in TARGETS {
        let corpus = (target.corpus)();
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        assert!(
            corpus.iter().all(|valid| valid.len() <= target.max_len),
            "{}: an input is too long",
            target.name
        );
    }
}

#[test]
fn an_input_depends_on_seed_and_number_alone() {
    for target in TARGETS.iter().filter(|target| target.name != "module") {
        let corpus = (target.corpus)();
        for number in [0, 1, 99] {
            let again = mutate::input(target, &corpus, 7, number);
            assert_eq!(mutate::input(target, &corpus, 7, number), again, "{}", target.name);
        }
    }
}

#[test]
fn mutations_leave_some_inputs_valid_and_break_others() {
    let Some(target) = targets::find("container_config") else { return };
    let corpus = (target.corpus)();
    let valid = |number| {
        let input = mutate::input(target, &corpus, SEED, number);
        sentient_abi::boot_module::ContainerConfig::parse(&input).is_some()
    };
    let accepted = (0..2000).filter(|number| valid(*number)).count();
    assert!((200..1800).contains(&accepted), "{accepted} of 2000 accepted");
}
