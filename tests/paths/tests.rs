//! Each way to write a path is seen.

use super::{Reference, Target, references};

/// What a file `src/storage/open.rs` with this source refers to.
fn targets(source: &str) -> Vec<Target> {
    let module = ["storage".to_owned(), "open".to_owned()];
    let found = references(source, &module).unwrap();
    found
        .into_iter()
        .map(|reference| reference.target)
        .collect()
}

fn modules(names: &[&str]) -> Vec<Target> {
    names
        .iter()
        .map(|name| Target::Module((*name).into()))
        .collect()
}

#[test]
fn every_form_of_a_path_to_another_module_is_found() {
    let sources = [
        "use crate::launcher;",
        "use crate::launcher::Host;",
        "use crate::launcher as model;",
        "use crate::launcher::*;",
        "pub(crate) use crate::launcher::{Host, host::{self, Target}};",
        "use super::super::launcher::Host;",
        "use super::super::{launcher::Host};",
        "use self::super::super::launcher::Host;",
        "use aos_servicemanager::launcher;",
        "fn f() { use crate::launcher::Host; }",
        "mod inner { use super::super::super::launcher::Host; }",
        "fn f() { crate::launcher::start(); }",
        "fn f() { super::super::launcher::start(); }",
        "fn f(a: crate::launcher::Host) {}",
        "fn f() -> Option<crate::launcher::Host> {}",
        "fn f(a: &dyn crate::launcher::Host) {}",
        "fn f<T: crate::launcher::Host>() {}",
        "fn f() where crate::launcher::A: Copy {}",
        "impl crate::launcher::Host for A {}",
        "impl<T> Display for A<T> where T: crate::launcher::Host {}",
        "fn f(a: A) { let crate::launcher::B { c } = a; }",
        "fn f(a: A) { match a { crate::launcher::B => {} } }",
        "fn f() { <A as crate::launcher::Host>::start(); }",
        "fn f() { Vec::<crate::launcher::A>::new(); }",
        "static A: u8 = crate::launcher::B;",
        "#[derive(crate::launcher::Derive)] struct A;",
        "#[crate::launcher::attribute] struct A;",
        "#[serde(with = \"crate::launcher::json\")] struct A;",
        "#[outer(inner(default = \"super::super::launcher::f\"))] struct A;",
        "fn f() { crate::launcher::print!(); }",
        "fn f() { println!(\"{}\", crate::launcher::NAME); }",
        "fn f() { vec![(0, [super::super::launcher::NAME])]; }",
        "fn f() { select! { _ = self::super::super::launcher::run() => {} } }",
        "macro_rules! m { () => { $crate::launcher::start() } }",
        "macro_rules! m { () => { use crate::{launcher::Host}; } }",
        "macro_rules! m { () => { use crate::launcher::*; } }",
        "#[cfg(test)] mod tests { fn f() { crate::launcher::start(); } }",
        "async fn f() { (async || { crate::launcher::start().await })().await }",
    ];

    for source in sources {
        let mut found = targets(source);
        found.dedup();
        assert_eq!(found, modules(&["launcher"]), "{source}");
    }
}

#[test]
fn groups_give_each_of_their_modules() {
    let found = targets("use crate::{config, model::{self, Alert}, peer::*};");

    assert_eq!(found, modules(&["config", "model", "model", "peer"]));
}

#[test]
fn paths_inside_macros_give_each_of_their_modules() {
    let found =
        targets("m! { use crate::{config, model::{Alert, Chain}}; super::super::peer::f() }");

    assert_eq!(found, modules(&["config", "model", "model", "peer"]));
}

#[test]
fn paths_that_stay_inside_give_the_module_itself() {
    let found = targets("use super::worker; mod tests { use super::*; } fn f() { self::g() }");

    assert_eq!(found, modules(&["storage", "storage", "storage"]));
}

#[test]
fn paths_of_other_crates_and_local_names_are_not_ours() {
    let sources = [
        "use std::io; use tokio::sync::{mpsc, oneshot};",
        "use ::launcher::Host; fn f() { ::launcher::start(); }",
        "fn f(launcher: A) { launcher.start(); self.launcher(); launcher::start(); }",
        "pub(super) fn f() {} pub(crate) struct A;",
        "m! { pub(super) fn f() { self.start() } }",
        "/// See [`crate::launcher`].\nfn f() { \"crate::launcher::f\"; }",
    ];

    for source in sources {
        assert_eq!(targets(source), [], "{source}");
    }
}

#[test]
fn names_that_hide_where_they_lead_are_found() {
    let sources = [
        "use crate as root;",
        "use crate::*;",
        "use crate::{self as root};",
        "use super::super as root;",
        "use super::super::*;",
        "extern crate self as root;",
        "#[path = \"../launcher/host.rs\"] mod host;",
        "include!(\"../launcher/host.rs\");",
        "m! { use crate::*; }",
    ];

    for source in sources {
        let found = targets(source);
        assert!(
            matches!(found[..], [Target::Obscure(_)]),
            "{source}: {found:?}"
        );
    }
}

#[test]
fn missing_code_is_found() {
    for source in ["fn f() { todo!() }", "fn f() { m!(unimplemented!(\"x\")) }"] {
        assert!(
            matches!(targets(source)[..], [Target::Unfinished(_)]),
            "{source}"
        );
    }
}

#[test]
fn names_in_the_root_of_the_crate_are_modules() {
    let found = references("pub use launcher::Host;", &[]).unwrap();

    let target = Target::Module("launcher".into());
    assert_eq!(found, [Reference { line: 1, target }]);
}

#[test]
fn lines_are_those_of_the_file() {
    let source = "\n\n#[serde(with = \"crate::peer::x\")]\nstruct A;\nfn f() {\n    m!(crate::peer::g());\n}\n";

    let found = references(source, &["storage".to_owned()]).unwrap();

    let lines: Vec<_> = found.iter().map(|reference| reference.line).collect();
    assert_eq!(lines, [3, 6]);
}

#[test]
fn source_that_is_no_rust_is_an_error() {
    assert!(references("fn {", &[]).is_err());
}
