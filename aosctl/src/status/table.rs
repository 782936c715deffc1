//! The document for people: what is wrong stands out, with its reason.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::view::{Document, Download, Instance, Item, Network, Peer};

/// Marks what is wrong; in red on a terminal.
fn alarm(text: &str, coloured: bool) -> String {
    if coloured {
        format!("\x1b[1;31m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Texts of others must not drive the terminal.
pub(crate) fn escaped(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect()
}

/// The whole document.
pub(super) fn table(document: &Document, coloured: bool) -> String {
    let now = &document.time;
    let mut parts = vec![head(document, coloured)];
    if let Some(instances) = &document.instances {
        parts.push(self::instances(instances, now, coloured));
    }
    if let Some(networks) = &document.networks {
        parts.push(self::networks(networks, coloured));
    }
    let content = &document.content;
    for (title, items) in [("SERVICE", &content.services), ("LAYER", &content.layers)] {
        parts.extend(items.as_ref().map(|items| self::items(title, items, now)));
    }
    parts.push(downloads(&content.downloads));

    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn head(document: &Document, coloured: bool) -> String {
    let now = &document.time;
    let node = document.node.as_ref().map_or_else(
        || "node not known yet".to_owned(),
        |node| format!("node {} ({})", escaped(&node.id), escaped(&node.kind)),
    );
    let mut text = format!(
        "service manager {}, up {}, {node}",
        escaped(&document.version),
        duration(document.uptime)
    );
    if let Some(usage) = &document.usage {
        let ram = amount(usage.ram);
        text.push_str(&format!("; node uses {} % CPU, {ram} RAM", usage.cpu));
    }
    text.push('\n');
    for (name, peer) in [("CM ", &document.peers.cm), ("IAM", &document.peers.iam)] {
        text.push_str(&format!("{name}  {}\n", self::peer(peer, now, coloured)));
    }
    if let Some(desired) = &document.desired {
        let settled = if desired.settled {
            "settled"
        } else {
            "being worked on"
        };
        let unstored = if desired.stored {
            String::new()
        } else {
            format!(", {}", alarm("NOT STORED", coloured))
        };
        text.push_str(&format!(
            "desired list {}: {settled}{unstored}\n",
            desired.generation
        ));
    }
    for part in &document.unanswered {
        let silent = alarm("NO ANSWER", coloured);
        text.push_str(&format!("{silent} from the {}\n", escaped(part)));
    }
    text
}

fn peer(peer: &Peer, now: &str, coloured: bool) -> String {
    let since = since(&peer.since, now);
    if peer.connected {
        return format!("connected for {since}");
    }
    let mut text = format!("{} for {since}", alarm("NOT CONNECTED", coloured));
    if let Some(error) = &peer.last_error {
        text.push_str(&format!(": {}", escaped(&error.message)));
    }
    if let Some(next) = &peer.next_try {
        text.push_str(&format!("; next try in {}", self::since(now, next)));
    }
    text
}

fn instances(instances: &[Instance], now: &str, coloured: bool) -> String {
    if instances.is_empty() {
        return "no instances\n".to_owned();
    }
    let mut rows = vec![
        [
            "INSTANCE", "VERSION", "STATE", "FOR", "FAULTS", "NETWORK", "ADDRESS", "ID",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), escaped);
    rows.extend(instances.iter().map(|instance| {
        let failed = instance.state == "failed";
        let state = escaped(&instance.state);
        vec![
            escaped(&instance.name()),
            instance
                .version
                .map_or_else(|| "-".to_owned(), |version| version.to_string()),
            if failed { state.to_uppercase() } else { state },
            since(&instance.since, now),
            instance.faults.to_string(),
            text(&instance.network),
            text(&instance.ip),
            escaped(&instance.id),
        ]
    }));

    let lines = columns(&rows);
    let mut text = format!("{}\n", lines[0]);
    for (line, instance) in lines[1..].iter().zip(instances) {
        if instance.state == "failed" {
            text.push_str(&format!("{}\n", alarm(line, coloured)));
        } else {
            text.push_str(&format!("{line}\n"));
        }
        if let Some(error) = &instance.error {
            let exit = match error.exit_code {
                0 => String::new(),
                code => format!(" (exit code {code})"),
            };
            text.push_str(&format!("    {}{exit}\n", escaped(&error.message)));
        }
        if let Some(version) = instance.running_version {
            text.push_str(&format!("    version {version} runs\n"));
        }
    }
    text
}

fn networks(networks: &[Network], coloured: bool) -> String {
    if networks.is_empty() {
        return String::new();
    }
    let mut rows = vec![
        [
            "NETWORK",
            "BRIDGE",
            "SUBNET",
            "GATEWAY",
            "VLAN",
            "INSTANCES",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(networks.iter().map(|network| {
        let vlan = match network.vlan_id {
            0 => "-".to_owned(),
            id => id.to_string(),
        };
        vec![
            escaped(&network.id),
            escaped(&network.bridge),
            escaped(&network.subnet),
            escaped(&network.gateway),
            vlan,
            network.instances.to_string(),
        ]
    }));

    let lines = columns(&rows);
    let mut text = format!("{}\n", lines[0]);
    for (line, network) in lines[1..].iter().zip(networks) {
        match &network.fault {
            Some(fault) => {
                let line = alarm(line, coloured);
                text.push_str(&format!("{line}\n    {}\n", escaped(fault)));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

fn items(title: &str, items: &[Item], now: &str) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut rows = vec![[title, "VERSION", "SIZE", ""].map(str::to_owned).to_vec()];
    rows.extend(items.iter().map(|item| {
        let cached = item.cached_since.as_ref();
        vec![
            escaped(&item.id),
            item.version.to_string(),
            amount(item.size),
            cached.map_or_else(
                || "in use".to_owned(),
                |cached| format!("cached for {}", since(cached, now)),
            ),
        ]
    }));
    columns(&rows)
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

fn downloads(downloads: &[Download]) -> String {
    let line = |download: &Download| {
        format!(
            "downloading {}: {} of {}, {}/s\n",
            escaped(&download.item),
            amount(download.done),
            amount(download.total),
            amount(download.rate)
        )
    };
    downloads.iter().map(line).collect()
}

/// Rows with equally wide columns; the last is as wide as it is.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();

    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: Vec<_> = cells
                .map(|(cell, &width)| format!("{cell:width$}"))
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// The time from one moment to another; never negative.
fn since(from: &str, till: &str) -> String {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    match (parse(from), parse(till)) {
        (Some(from), Some(till)) => {
            duration(u64::try_from((till - from).whole_seconds()).unwrap_or(0))
        }
        _ => "?".to_owned(),
    }
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Bytes, in a unit that leaves few digits.
fn amount(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
