//! Quotas of a service as limits of its processes and its cgroup.

use aos_package::Quotas;

use super::oci::{Cpu, DeviceRule, Memory, Pids, Resources, Rlimit};

/// Microseconds over which processor time is measured out.
const CPU_PERIOD: u64 = 100_000;

/// The kernel takes no smaller quota, in microseconds.
const LEAST_CPU_QUOTA: u64 = 1_000;

/// Open files without a limit of the service's own.
const DEFAULT_OPEN_FILES: u64 = 1024;

/// What is not allowed by a later rule, or by the runtime for all containers, is
/// denied.
const NO_DEVICES: DeviceRule = DeviceRule {
    allow: false,
    kind: None,
    major: None,
    minor: None,
    access: "rwm",
};
/// More is refused, and is no limit on any machine. Microseconds.
const MOST_CPU_QUOTA: u64 = 1 << 43;

/// The kernel has no more processes, and refuses a limit above that.
const MOST_PROCESSES: u64 = 4_194_304;

/// What the kernel can limit, in the cgroup that a container gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Controllers {
    /// Memory.
    pub memory: bool,
    /// Swap, beside memory.
    pub swap: bool,
    /// Processor time.
    pub cpu: bool,
    /// Number of processes.
    pub pids: bool,
}

/// A limit that was asked for and would be none: its name, and what the kernel
/// lacks. Runtimes warn at most, and go on without it.
pub(super) fn missing(
    quotas: &Quotas,
    controllers: Controllers,
) -> Option<(&'static str, &'static str)> {
    let needs = [
        (
            quotas.ram_limit,
            controllers.memory,
            ("ramLimit", "memory controller"),
        ),
        (
            quotas.cpu_limit,
            controllers.cpu,
            ("cpuLimit", "cpu controller with CFS bandwidth"),
        ),
        (
            quotas.pids_limit,
            controllers.pids,
            ("pidsLimit", "pids controller"),
        ),
    ];
    let mut unmet = needs
        .into_iter()
        .filter(|(quota, there, _)| set(*quota).is_some() && !there);
    unmet.next().map(|(_, _, text)| text)
}

/// Limits of the cgroup on a node with so many CPUs. A quota of 0 is none.
/// Memory that may be swapped out is no more memory, where the kernel can tell.
pub(super) fn cgroup_limits(quotas: &Quotas, cpus: u64, controllers: Controllers) -> Resources {
    Resources {
        devices: vec![NO_DEVICES],
        memory: set(quotas.ram_limit).map(|limit| Memory {
            limit: signed(limit),
            swap: controllers.swap.then(|| signed(limit)),
        }),
        cpu: set(quotas.cpu_limit).map(|percent| Cpu {
            quota: signed(cpu_quota(percent, cpus)),
            period: CPU_PERIOD,
        }),
        pids: set(quotas.pids_limit).map(|limit| Pids {
            limit: signed(limit.min(MOST_PROCESSES)),
        }),
    }
}

/// Limits of each process.
pub(super) fn process_limits(quotas: &Quotas) -> Vec<Rlimit> {
    let open_files = set(quotas.no_file_limit).unwrap_or(DEFAULT_OPEN_FILES);
    let processes = set(quotas.pids_limit).map(|limit| rlimit("RLIMIT_NPROC", limit));

    std::iter::once(rlimit("RLIMIT_NOFILE", open_files))
        .chain(processes)
        .collect()
}

/// A quota of 0 is none.
pub(super) fn set(quota: Option<u64>) -> Option<u64> {
    quota.filter(|&limit| limit > 0)
}

/// Microseconds in a period, of `percent` of the whole node.
fn cpu_quota(percent: u64, cpus: u64) -> u64 {
    let quota = u128::from(CPU_PERIOD) * u128::from(cpus) * u128::from(percent) / 100;
    u64::try_from(quota)
        .unwrap_or(u64::MAX)
        .clamp(LEAST_CPU_QUOTA, MOST_CPU_QUOTA)
}

fn rlimit(kind: &'static str, limit: u64) -> Rlimit {
    Rlimit {
        kind,
        hard: limit,
        soft: limit,
    }
}

/// More than the kernel can count is as good as the most that it can.
fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Controllers = Controllers {
        memory: true,
        swap: true,
        cpu: true,
        pids: true,
    };
    const NONE: Controllers = Controllers {
        memory: false,
        swap: false,
        cpu: false,
        pids: false,
    };

    #[test]
    fn limit_that_the_kernel_lacks_is_named_and_only_if_it_is_wanted() {
        let quota = |name: &str| {
            let limit = |own| (name == own).then_some(1);
            Quotas {
                ram_limit: limit("ramLimit"),
                cpu_limit: limit("cpuLimit"),
                pids_limit: limit("pidsLimit"),
                ..Quotas::default()
            }
        };

        for name in ["ramLimit", "cpuLimit", "pidsLimit"] {
            assert_eq!(missing(&quota(name), NONE).unwrap().0, name);
            assert_eq!(missing(&quota(name), ALL), None);
        }
        let zero = Quotas {
            ram_limit: Some(0),
            ..Quotas::default()
        };
        assert_eq!(missing(&zero, NONE), None);
    }

    #[test]
    fn memory_and_swap_together_are_as_much_as_memory_where_swap_is_counted() {
        let quotas = Quotas {
            ram_limit: Some(4096),
            ..Quotas::default()
        };

        for (swap, expected) in [(true, Some(4096)), (false, None)] {
            let limits = cgroup_limits(&quotas, 1, Controllers { swap, ..ALL });
            assert_eq!(limits.memory.unwrap().swap, expected);
        }
    }

    #[test]
    fn cpu_limit_is_a_part_of_all_cpus() {
        for (percent, cpus, quota) in [
            (100, 1, 100_000),
            (100, 4, 400_000),
            (50, 2, 100_000),
            (25, 1, 25_000),
            (250, 4, 1_000_000),
        ] {
            let quotas = Quotas {
                cpu_limit: Some(percent),
                ..Quotas::default()
            };

            let limits = cgroup_limits(&quotas, cpus, ALL);

            assert_eq!(
                limits.cpu,
                Some(Cpu {
                    quota,
                    period: 100_000
                }),
                "{percent} % of {cpus}"
            );
        }
    }

    #[test]
    fn without_quotas_only_devices_and_files_are_limited() {
        let quotas = Quotas::default();

        let cgroup = cgroup_limits(&quotas, 2, ALL);
        let process = process_limits(&quotas);

        assert_eq!(cgroup.devices, [NO_DEVICES]);
        assert_eq!((cgroup.memory, cgroup.cpu, cgroup.pids), (None, None, None));
        assert_eq!(process, [rlimit("RLIMIT_NOFILE", 1024)]);
    }

    #[test]
    fn a_quota_of_zero_is_none() {
        let quotas = Quotas {
            cpu_limit: Some(0),
            ram_limit: Some(0),
            pids_limit: Some(0),
            no_file_limit: Some(0),
            ..Quotas::default()
        };

        assert_eq!(
            cgroup_limits(&quotas, 2, ALL),
            cgroup_limits(&Quotas::default(), 2, ALL)
        );
        assert_eq!(process_limits(&quotas), process_limits(&Quotas::default()));
    }

    #[test]
    fn pids_limit_is_both_a_cgroup_and_a_user_limit() {
        let quotas = Quotas {
            pids_limit: Some(7),
            ..Quotas::default()
        };

        let cgroup = cgroup_limits(&quotas, 1, ALL);
        let process = process_limits(&quotas);

        assert_eq!(cgroup.pids, Some(Pids { limit: 7 }));
        assert_eq!(process[1], rlimit("RLIMIT_NPROC", 7));
    }

    proptest! {
        #[test]
        fn any_quota_is_a_value_that_the_kernel_takes(
            percent: u64, cpus in 1_u64..4096, bytes: u64, pids: u64
        ) {
            let quotas = Quotas {
                cpu_limit: Some(percent),
                ram_limit: Some(bytes),
                pids_limit: Some(pids),
                ..Quotas::default()
            };

            let limits = cgroup_limits(&quotas, cpus, ALL);

            prop_assert!(limits.cpu.is_none_or(|cpu| (1_000..1 << 44).contains(&cpu.quota)));
            prop_assert!(limits.pids.is_none_or(|pids| (1..=1 << 22).contains(&pids.limit)));
            prop_assert!(limits.memory.is_none_or(|memory| memory.limit > 0));
        }
    }
}
