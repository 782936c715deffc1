//! Environment of an instance.
//!
//! Sources are laid over each other in the order of [`environment`]: the
//! runtime's defaults, the image, what SM says of the instance, then whatever
//! more is given. The one that sets a name last wins, so that an image cannot
//! hide what SM says.

use crate::model::{InstanceId, InstanceIdent};

/// Variables that every process gets.
const DEFAULTS: [&str; 2] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM=xterm",
];

/// An entry that is not `NAME=value`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {0:?} is not NAME=value")]
pub(crate) struct EnvError(pub String);

/// What SM tells an instance about itself.
#[must_use]
pub(crate) fn aos_variables(
    ident: &InstanceIdent,
    id: InstanceId,
    secret: Option<&str>,
) -> Vec<String> {
    let mut variables = vec![
        format!("AOS_SERVICE_ID={}", ident.service_id),
        format!("AOS_SUBJECT_ID={}", ident.subject_id),
        format!("AOS_INSTANCE_INDEX={}", ident.index),
        format!("AOS_INSTANCE_ID={id}"),
    ];
    if let Some(secret) = secret {
        variables.push(format!("AOS_SECRET={secret}"));
    }

    variables
}

/// Lays the sources over the defaults, the first at the bottom. A name appears
/// once, where it was set first.
pub(crate) fn environment(sources: &[&[String]]) -> Result<Vec<String>, EnvError> {
    let defaults = DEFAULTS.map(str::to_owned);
    let mut merged: Vec<(&str, &str)> = Vec::new();

    for entry in defaults
        .iter()
        .chain(sources.iter().flat_map(|source| source.iter()))
    {
        let name = name_of(entry).ok_or_else(|| EnvError(entry.clone()))?;
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = entry,
            None => merged.push((name, entry)),
        }
    }

    Ok(merged
        .into_iter()
        .map(|(_, entry)| entry.to_owned())
        .collect())
}

/// The name that an entry sets; `None` if it is not `NAME=value`.
#[must_use]
pub(crate) fn name_of(entry: &str) -> Option<&str> {
    let (name, _) = entry.split_once('=')?;
    (!name.is_empty() && !entry.contains('\0')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    fn ident() -> InstanceIdent {
        InstanceIdent {
            service_id: "service".into(),
            subject_id: "subject".into(),
            index: 3,
        }
    }

    #[test]
    fn without_sources_the_defaults_remain() {
        let env = environment(&[]).unwrap();

        assert_eq!(env, DEFAULTS);
    }

    #[test]
    fn the_last_source_wins() {
        let image = texts(&["A=image", "B=image"]);
        let overrides = texts(&["B=override=with equals", "C="]);

        let env = environment(&[&image, &overrides]).unwrap();

        assert_eq!(env[2..], ["A=image", "B=override=with equals", "C="]);
    }

    #[test]
    fn an_image_replaces_the_default_path() {
        let image = texts(&["PATH=/opt/bin"]);

        let env = environment(&[&image]).unwrap();

        assert_eq!(env, ["PATH=/opt/bin", "TERM=xterm"]);
    }

    #[test]
    fn an_image_cannot_hide_an_aos_variable() {
        let image = texts(&["AOS_INSTANCE_INDEX=77", "AOS_SECRET=mine"]);
        let aos = aos_variables(&ident(), InstanceId::from_u128(1), Some("real"));

        let env = environment(&[&image, &aos]).unwrap();

        assert!(env.contains(&"AOS_INSTANCE_INDEX=3".to_owned()));
        assert!(env.contains(&"AOS_SECRET=real".to_owned()));
        assert_eq!(env.len(), 7);
    }

    #[test]
    fn without_permissions_there_is_no_secret() {
        let aos = aos_variables(&ident(), InstanceId::from_u128(1), None);

        assert_eq!(
            aos,
            [
                "AOS_SERVICE_ID=service",
                "AOS_SUBJECT_ID=subject",
                "AOS_INSTANCE_INDEX=3",
                "AOS_INSTANCE_ID=00000000-0000-0000-0000-000000000001",
            ]
        );
    }

    #[test]
    fn an_entry_that_is_no_assignment_is_refused_by_name() {
        for bad in ["NOVALUE", "=value", "", "A=b\0c"] {
            let image = texts(&["OK=1", bad]);

            let refused = environment(&[&image]);

            assert_eq!(refused, Err(EnvError(bad.to_owned())));
        }
    }
}
