//! How long things take. Prints; asserts nothing.

use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use crate::layermanager::record::{beside, write_by_reading};
use crate::layermanager::verify::compare::compare;
use crate::layermanager::verify::pace::{Hasty, Speed, Thorough};

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn time_of_proofs_and_checks() {
    for files in [5_000_u32, 20_000] {
        let directory = TempDir::new().unwrap();
        let item = directory.path().join("item");
        for group in 0..files / 100 {
            let parent = item.join(format!("{group}"));
            fs::create_dir_all(&parent).unwrap();
            for file in 0..100 {
                fs::write(parent.join(format!("{file}")), vec![1; 4096]).unwrap();
            }
        }
        write_by_reading(&[("", &item)], &beside(&item), &|| false).unwrap();
        let began = Instant::now();
        let finding = compare(&item, &mut Hasty, &|| false).unwrap();
        println!("proof of {files} files: {:?}, {finding:?}", began.elapsed());
        let speed = Speed::new(1, true);
        let mut depth = Thorough {
            speed: &speed,
            bytes: 0,
        };
        let began = Instant::now();
        compare(&item, &mut depth, &|| false).unwrap();
        println!("check of {files} files: {:?}", began.elapsed());
    }

    let directory = TempDir::new().unwrap();
    let item = directory.path().join("item");
    fs::create_dir(&item).unwrap();
    fs::write(item.join("large"), vec![1; 128 << 20]).unwrap();
    let began = Instant::now();
    write_by_reading(&[("", &item)], &beside(&item), &|| false).unwrap();
    println!("reading 128 MiB from memory: {:?}", began.elapsed());
}
