//! Environment variables that CM sets over those of the services. Pure.
//!
//! A list replaces the one before. Its order counts: of two values for one name,
//! the instance gets the later one, whichever filters they come with. A variable
//! ends at its moment on the wall clock and is gone then: a clock that goes back
//! does not bring it back.
//!
//! What an instance gets is in one canonical form, so that lists which say the
//! same in other ways restart nobody.

mod stored;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::env;
use crate::model::{EnvVar, EnvVarStatus, EnvVarsOverride, EnvVarsStatus, InstanceIdent};

pub use variables::Variables;

/// The kernel starts no process with a longer one; it counts the zero at the end.
const LONGEST: usize = 128 * 1024 - 1;

/// What CM is told of a variable that has ended before it began.
const EXPIRED: &str = "environment variable expired";

/// The list that is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Overrides {
    list: Vec<EnvVarsOverride>,
}

impl Overrides {
    /// What of a list can be in force, and the answer to each of its variables.
    pub(super) fn accept(
        list: Vec<EnvVarsOverride>,
        now: SystemTime,
    ) -> (Self, Vec<EnvVarsStatus>) {
        let mut answers = Vec::with_capacity(list.len());
        let mut accepted = Vec::with_capacity(list.len());
        for EnvVarsOverride { filter, vars } in list {
            let mut kept = Vec::with_capacity(vars.len());
            let mut statuses = Vec::with_capacity(vars.len());
            for var in vars {
                let fault = fault(&var, now);
                statuses.push(EnvVarStatus {
                    id: var.id.clone(),
                    error: fault.clone().unwrap_or_default(),
                });
                if fault.is_none() {
                    kept.push(var);
                }
            }
            answers.push(EnvVarsStatus {
                filter: filter.clone(),
                vars: statuses,
            });
            if !kept.is_empty() {
                accepted.push(EnvVarsOverride { filter, vars: kept });
            }
        }

        (Self { list: accepted }, answers)
    }

    /// What is still in force at this moment; `None` when that is all.
    pub(super) fn without_expired(&self, now: SystemTime) -> Option<Self> {
        self.next_expiry().filter(|next| *next <= now)?;

        let mut rest = self.clone();
        for each in &mut rest.list {
            each.vars.retain(|var| !has_ended(var, now));
        }
        rest.list.retain(|each| !each.vars.is_empty());
        Some(rest)
    }

    /// When the next variable ends.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        self.list
            .iter()
            .flat_map(|each| &each.vars)
            .filter_map(|var| var.expires)
            .min()
    }

    /// What an instance gets: each name once, in the order of the names.
    pub(super) fn of(&self, ident: &InstanceIdent) -> Variables {
        let selected = self.list.iter().filter(|each| each.filter.selects(ident));
        let by_name: BTreeMap<_, _> = selected
            .flat_map(|each| &each.vars)
            .filter_map(|var| Some((env::name_of(&var.variable)?, &var.variable)))
            .collect();

        by_name.into_values().cloned().collect::<Vec<_>>().into()
    }

    /// How many variables are in force.
    pub(super) fn len(&self) -> usize {
        self.list.iter().map(|each| each.vars.len()).sum()
    }
}

fn has_ended(var: &EnvVar, now: SystemTime) -> bool {
    var.expires.is_some_and(|end| end <= now)
}

/// Why a variable cannot be in force. It does not show the value.
fn fault(var: &EnvVar, now: SystemTime) -> Option<String> {
    if env::name_of(&var.variable).is_none() {
        return Some("environment variable is not NAME=value".to_owned());
    }
    let length = var.variable.len();
    if length > LONGEST {
        return Some(format!(
            "environment variable has {length} bytes, more than {LONGEST}"
        ));
    }

    has_ended(var, now).then(|| EXPIRED.to_owned())
}
