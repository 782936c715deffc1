//! The rules of `ARCHITECTURE.md` that a machine can check.

mod paths;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use paths::{Target, references};

const MAX_LINES: usize = 400;

/// Stands for each module of the table.
const ALL: &[&str] = &["*"];

/// Who may use whom. The row with the longest name that fits counts. Changing
/// it is a design change: say so in the commit, and in `ARCHITECTURE.md`.
const TABLE: [(&str, &[&str]); 21] = [
    (
        "main",
        &["app", "arguments", "config", "model", "telemetry"],
    ),
    ("app", ALL),
    (
        "dispatch",
        &[
            "launcher",
            "logging",
            "model",
            "networkmanager",
            "resourcemanager",
        ],
    ),
    ("launcher", &["config", "model", "storage"]),
    (
        "launcher::linux",
        &[
            "config",
            "iamclient",
            "layermanager",
            "model",
            "networkmanager",
            "resourcemanager",
            "storage",
        ],
    ),
    ("layermanager", &["config", "model", "storage"]),
    ("networkmanager", &["config", "model", "storage"]),
    ("resourcemanager", &["config", "model", "storage"]),
    ("iamclient", &["config", "model", "peer", "storage"]),
    ("cmclient", &["config", "model", "peer"]),
    ("peer", &["config", "model"]),
    ("alerts", &["config", "journal", "model", "storage"]),
    ("logging", &["config", "journal", "model", "storage"]),
    ("journal", &["model"]),
    ("storage", &["model"]),
    ("config", &["model"]),
    ("status", &["model"]),
    ("supervisor", &["model"]),
    ("telemetry", &["arguments"]),
    ("arguments", &[]),
    ("model", &[]),
];

/// Whether `module` may refer to what is at or below `top`.
fn allowed(module: &str, top: &str) -> bool {
    let known = TABLE.iter().any(|(name, _)| *name == top);
    let own = module.split("::").next() == Some(top);
    if own {
        return true;
    }

    let row = TABLE
        .iter()
        .filter(|(name, _)| {
            let rest = module.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
        .max_by_key(|(name, _)| name.len());
    known && row.is_some_and(|(_, uses)| *uses == ALL || uses.contains(&top))
}

/// What is wrong with a file of `module`, one line each.
fn faults(source: &str, file: &str, module: &[String]) -> Vec<String> {
    let name = module.join("::");
    let found = match references(source, module) {
        Ok(found) => found,
        Err(error) => return vec![format!("{file}: {error}")],
    };

    found
        .into_iter()
        .filter_map(|reference| {
            let fault = match reference.target {
                // The root only names its modules.
                Target::Module(_) if module.is_empty() => return None,
                Target::Module(top) if allowed(&name, &top) => return None,
                Target::Module(top) => format!("{name} may not use {top}"),
                Target::Obscure(what) => format!("{what} is used, so that no path can be checked"),
                Target::Unfinished(name) => format!("{name}! in the code"),
            };
            Some(format!("{file}:{}: {fault}", reference.line))
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder of the project.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }

    files.sort();
    files
}

/// Path of the module that a file below `src` is.
fn module_of(file: &Path) -> Vec<String> {
    let relative = file
        .strip_prefix(root().join("src"))
        .expect("the file is below src");
    let mut module: Vec<String> = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module == ["lib"] || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }

    module
}

#[test]
fn modules_use_only_what_they_may() {
    let files = sources("src");
    assert!(!files.is_empty());

    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let shown = file.strip_prefix(root()).unwrap().display().to_string();
            faults(&fs::read_to_string(file).unwrap(), &shown, &module_of(file))
        })
        .collect();

    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    let rows: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    let modules: BTreeSet<String> = sources("src")
        .iter()
        .filter_map(|file| module_of(file).into_iter().next())
        .collect();

    let without: Vec<_> = modules
        .iter()
        .filter(|module| !rows.contains(module.as_str()))
        .collect();

    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn table_has_no_circle() {
    // What uses nothing that is left can be taken away, until all is gone.
    let mut left: Vec<_> = TABLE.iter().filter(|(_, uses)| *uses != ALL).collect();
    loop {
        let names: Vec<&str> = left
            .iter()
            .map(|(name, _)| name.split("::").next().unwrap())
            .collect();
        let before = left.len();
        left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
        if left.len() == before {
            break;
        }
    }

    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn files_are_short() {
    let folders = [
        "src",
        "tests",
        "aosctl",
        "memory",
        "nameserver",
        "package",
        "benches",
    ];

    let long: Vec<String> = folders
        .iter()
        .flat_map(|folder| sources(folder))
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            (lines >= MAX_LINES).then(|| format!("{} has {lines} lines", file.display()))
        })
        .collect();

    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn device_tests_do_not_link_the_library() {
    let device_tests = sources("tests").into_iter().filter(|file| {
        let name = file.file_stem().unwrap().to_str().unwrap();
        name.starts_with("device_")
    });

    for file in device_tests {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("aos_servicemanager::"), "{}", file.display());
    }
}

#[test]
fn row_of_a_module_counts_for_all_below_it() {
    assert!(allowed("storage::open", "model"));
    assert!(!allowed("storage::open", "config"));
    assert!(allowed("storage::open", "storage"));
}

#[test]
fn only_the_linux_host_may_use_the_managers() {
    assert!(allowed("launcher::linux", "layermanager"));
    assert!(allowed("launcher::linux::prepare", "iamclient"));
    assert!(!allowed("launcher", "layermanager"));
    assert!(!allowed("launcher::linuxes", "layermanager"));
    assert!(!allowed("launcher::plan", "layermanager"));
}

#[test]
fn unknown_modules_and_names_of_the_root_are_refused() {
    assert!(!allowed("app", "utils"));
    assert!(!allowed("newcomer", "model"));
    assert!(!allowed("launcher", "Host"));
}

#[test]
fn managers_may_not_know_each_other() {
    let managers = [
        "iamclient",
        "layermanager",
        "networkmanager",
        "resourcemanager",
    ];

    for user in managers {
        for used in managers.into_iter().filter(|used| *used != user) {
            assert!(!allowed(user, used), "{user} -> {used}");
        }
    }
}

#[test]
fn fault_names_file_line_and_rule() {
    let module = ["model".to_owned()];

    let faults = faults("\nuse crate::storage::Database;", "src/model/x.rs", &module);

    assert_eq!(faults, ["src/model/x.rs:2: model may not use storage"]);
}
