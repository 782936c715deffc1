//! What is accepted, who gets what, when it ends, how it is stored.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::stored::StoredError;
use super::*;
use crate::model::{InstanceFilter, ServiceId, SubjectId};

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn var(variable: &str, expires: Option<u64>) -> EnvVar {
    EnvVar {
        id: format!("id of {variable}"),
        variable: variable.to_owned(),
        expires: expires.map(at),
    }
}

/// A filter as people write it, `-` for all.
fn filter(service: &str, subject: &str, index: Option<i64>) -> InstanceFilter {
    let some = |text: &str| (text != "-").then(|| text.to_owned());
    InstanceFilter {
        service_id: some(service).map(ServiceId::new),
        subject_id: some(subject).map(SubjectId::new),
        index,
    }
}

fn overridden(filter: InstanceFilter, vars: &[EnvVar]) -> EnvVarsOverride {
    EnvVarsOverride {
        filter,
        vars: vars.to_vec(),
    }
}

fn ident(service: &str, subject: &str, index: i64) -> InstanceIdent {
    InstanceIdent {
        service_id: service.into(),
        subject_id: subject.into(),
        index,
    }
}

fn accepted(list: &[EnvVarsOverride]) -> Overrides {
    Overrides::accept(list.to_vec(), at(0)).0
}

fn errors(list: &[EnvVarsOverride], now: u64) -> Vec<String> {
    let (_, answers) = Overrides::accept(list.to_vec(), at(now));
    let vars = answers.into_iter().flat_map(|answer| answer.vars);
    vars.map(|var| var.error).collect()
}

#[test]
fn each_part_of_a_filter_is_optional() {
    let all = accepted(&[
        overridden(filter("-", "-", None), &[var("ALL=1", None)]),
        overridden(filter("web", "-", None), &[var("SERVICE=1", None)]),
        overridden(filter("web", "me", None), &[var("SUBJECT=1", None)]),
        overridden(filter("-", "me", Some(2)), &[var("INDEX=1", None)]),
        overridden(filter("web", "me", Some(1)), &[var("ONE=1", None)]),
    ]);

    let of = |ident| all.of(&ident).to_vec();
    assert_eq!(
        of(ident("web", "me", 1)),
        ["ALL=1", "ONE=1", "SERVICE=1", "SUBJECT=1"]
    );
    assert_eq!(of(ident("web", "you", 2)), ["ALL=1", "SERVICE=1"]);
    assert_eq!(of(ident("db", "me", 2)), ["ALL=1", "INDEX=1"]);
    assert_eq!(of(ident("db", "you", 1)), ["ALL=1"]);
}

#[test]
fn later_value_of_a_name_wins_within_a_filter_and_over_filters() {
    let all = accepted(&[
        overridden(
            filter("web", "me", Some(0)),
            &[var("A=1", None), var("B=1", None)],
        ),
        overridden(
            filter("-", "-", None),
            &[var("A=2", None), var("A=3", None)],
        ),
    ]);

    assert_eq!(all.of(&ident("web", "me", 0)).to_vec(), ["A=3", "B=1"]);
}

#[test]
fn lists_that_mean_the_same_give_the_same() {
    let one = accepted(&[overridden(
        filter("-", "-", None),
        &[var("B=1", None), var("A=1", None)],
    )]);
    let other = accepted(&[
        overridden(
            filter("web", "-", None),
            &[var("A=1", Some(9)), var("B=0", None)],
        ),
        overridden(filter("-", "me", None), &[var("B=1", None)]),
        overridden(filter("db", "-", None), &[var("C=1", None)]),
    ]);
    let ident = ident("web", "me", 0);

    assert_eq!(one.of(&ident), other.of(&ident));
}

#[test]
fn each_variable_is_answered_under_its_id_and_the_filter_is_echoed() {
    let odd = filter("no such", "-", Some(-7));
    let list = [overridden(
        odd.clone(),
        &[var("A=1", None), var("bad", None), var("B=1", Some(5))],
    )];

    let (overrides, answers) = Overrides::accept(list.to_vec(), at(5));

    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].filter, odd);
    let told: Vec<_> = answers[0]
        .vars
        .iter()
        .map(|var| (var.id.as_str(), var.error.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("id of A=1", ""),
            ("id of bad", "environment variable is not NAME=value"),
            ("id of B=1", "environment variable expired"),
        ]
    );
    assert_eq!(overrides.len(), 1);
}

#[test]
fn what_no_process_can_be_given_is_refused_without_showing_it() {
    let longest = format!("A={}", "x".repeat(LONGEST - 2));
    let too_long = format!("{longest}x");
    let nul = "A=secret\0";
    let list = [overridden(
        filter("-", "-", None),
        &["", "=secret", "secret", nul, &longest, &too_long].map(|text| var(text, None)),
    )];

    let errors = errors(&list, 0);

    assert!(
        errors[..4]
            .iter()
            .all(|error| error == "environment variable is not NAME=value")
    );
    assert_eq!(errors[4], "");
    assert_eq!(
        errors[5],
        "environment variable has 131072 bytes, more than 131071"
    );
}

#[test]
fn variables_end_at_their_moment_and_filters_without_any_go_too() {
    let all = accepted(&[
        overridden(
            filter("web", "-", None),
            &[var("A=1", Some(10)), var("B=1", None)],
        ),
        overridden(filter("db", "-", None), &[var("C=1", Some(20))]),
    ]);

    assert_eq!(all.next_expiry(), Some(at(10)));
    assert_eq!(all.without_expired(at(9)), None);
    let later = all.without_expired(at(10)).unwrap();
    assert_eq!(later.of(&ident("web", "me", 0)).to_vec(), ["B=1"]);
    assert_eq!(later.next_expiry(), Some(at(20)));
    let last = later.without_expired(at(1000)).unwrap();
    assert_eq!((last.len(), last.next_expiry()), (1, None));
    assert_eq!(last.without_expired(at(5000)), None);
}

#[test]
fn values_are_printed_by_nothing() {
    let secret = EnvVar {
        id: "x".to_owned(),
        ..var("NAME=hush", None)
    };
    let request = overridden(filter("-", "-", None), &[secret]);
    let all = accepted(std::slice::from_ref(&request));

    let printed = format!("{request:?} {all:?} {:?}", all.of(&ident("web", "me", 0)));

    assert!(
        printed.contains("NAME") && !printed.contains("hush"),
        "{printed}"
    );
}

#[test]
fn list_of_the_older_release_is_read() {
    let text = r#"[
        {"serviceId": "web", "subjectId": "me", "instance": 3, "envVars": [
            {"id": "1", "variable": "A=1", "ttl": "1970-01-01T01:00:10.5+01:00"},
            {"id": "2", "variable": "B=2", "ttl": null}
        ]},
        {"serviceId": null, "envVars": null},
        {"subjectID": "", "envVars": [{"id": "3", "variable": "C=3"}]}
    ]"#;

    let read = Overrides::from_text(text).unwrap();

    let end = at(10) + Duration::from_millis(500);
    assert_eq!(read.next_expiry(), Some(end));
    assert_eq!(
        read.of(&ident("web", "me", 3)).to_vec(),
        ["A=1", "B=2", "C=3"]
    );
    assert_eq!(read.of(&ident("web", "me", 4)).to_vec(), ["C=3"]);
}

#[test]
fn stored_text_that_makes_no_sense_is_refused_without_showing_it() {
    for text in ["", "{", "{}", "[7]", r#"[{"envVars": [{"id": "hush"}]}]"#] {
        let error = Overrides::from_text(text).unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }
    let bad = r#"[{"envVars": [{"id": "1", "variable": "A=hush", "ttl": "tomorrow"}]}]"#;

    assert_eq!(
        Overrides::from_text(bad),
        Err(StoredError::Time { id: "1".to_owned() })
    );
}

fn any_override() -> impl Strategy<Value = EnvVarsOverride> {
    let part = || prop::option::of("[ab]");
    let variable = ("[AB]{0,2}(=.{0,4})?", prop::option::of(0u64..100));
    let vars = prop::collection::vec(variable, 0..4);
    (part(), part(), prop::option::of(-1i64..3), vars).prop_map(
        |(service, subject, index, vars)| EnvVarsOverride {
            filter: InstanceFilter {
                service_id: service.map(ServiceId::new),
                subject_id: subject.map(SubjectId::new),
                index,
            },
            vars: vars.iter().map(|(text, end)| var(text, *end)).collect(),
        },
    )
}

proptest! {
    /// What an instance gets is what a plain reading of the list says.
    #[test]
    fn instance_gets_the_last_value_of_each_name(
        list in prop::collection::vec(any_override(), 0..6),
        now in 0u64..100,
    ) {
        let ident = ident("a", "b", 1);
        let mut expected = BTreeMap::new();
        for each in list.iter().filter(|each| each.filter.selects(&ident)) {
            for var in &each.vars {
                let ended = var.expires.is_some_and(|end| end <= at(now));
                if let (Some(name), false) = (env::name_of(&var.variable), ended) {
                    expected.insert(name.to_owned(), var.variable.clone());
                }
            }
        }

        let (overrides, answers) = Overrides::accept(list.clone(), at(now));

        let expected: Vec<_> = expected.into_values().collect();
        prop_assert_eq!(overrides.of(&ident).to_vec(), expected);
        let asked: Vec<_> = list.iter().map(|each| (&each.filter, each.vars.len())).collect();
        let told: Vec<_> = answers.iter().map(|each| (&each.filter, each.vars.len())).collect();
        prop_assert_eq!(told, asked);
    }

    /// A variable that waits for its end is gone exactly when one that comes then
    /// would be refused.
    #[test]
    fn waiting_and_coming_later_are_the_same(
        list in prop::collection::vec(any_override(), 0..6),
        early in 0u64..100,
        later in 0u64..100,
    ) {
        let (early, later) = (early.min(later), early.max(later));
        let (waited, _) = Overrides::accept(list.clone(), at(early));
        let waited = waited.without_expired(at(later)).unwrap_or(waited);

        let (fresh, _) = Overrides::accept(list, at(later));

        prop_assert_eq!(waited, fresh);
    }

    #[test]
    fn what_is_stored_comes_back(list in prop::collection::vec(any_override(), 0..6)) {
        let overrides = Overrides::accept(list, at(0)).0;
        prop_assert_eq!(Overrides::from_text(&overrides.to_text()), Ok(overrides));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        drop(Overrides::from_text(&text));
    }
}
