//! All metrics that there are: what each counts, in the words of `docs/guide/metrics.md`.
//!
//! Not for counting, which is done where things happen. It keeps true that each is there from the start, at nought, with its kind and
//! a text, and that none is counted which does not stand here and in the guide.

use metrics::Label;

/// What is done with the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They are added.
    Counter,
    /// The last one counts.
    Gauge,
    /// Their distribution is told.
    Summary,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// What tells its numbers apart, and all values of that.
    label: Option<(&'static str, &'static [&'static str])>,
}

const fn measure(kind: Kind, name: &'static str, help: &'static str) -> Measure {
    Measure { name, kind, help, label: None }
}

const fn counter(name: &'static str, help: &'static str) -> Measure {
    measure(Kind::Counter, name, help)
}

const fn gauge(name: &'static str, help: &'static str) -> Measure {
    measure(Kind::Gauge, name, help)
}

const fn summary(name: &'static str, help: &'static str) -> Measure {
    measure(Kind::Summary, name, help)
}

impl Measure {
    const fn by(self, label: &'static str, values: &'static [&'static str]) -> Self {
        Self { label: Some((label, values)), ..self }
    }

    fn register(&self) {
        let Self { name, kind, help, label } = *self;
        let label = |value| label.map(|(label, _)| Label::from_static_parts(label, value));
        let values = self.label.map_or(&[""][..], |(_, values)| values);
        match kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Summary => metrics::describe_histogram!(name, help),
        }
        for value in values {
            let labels: Vec<Label> = label(*value).into_iter().collect();
            match kind {
                Kind::Counter => metrics::counter!(name, labels).increment(0),
                Kind::Gauge => metrics::gauge!(name, labels).increment(0.0),
                Kind::Summary => drop(metrics::histogram!(name, labels)),
            }
        }
    }
}

/// Makes all of them known to the recorder of this process.
pub(crate) fn register() {
    ALL.iter().for_each(Measure::register);
}

const ALL: &[Measure] = &[
    gauge("netloom_leads", "Whether this server leads: 1 or 0"),
    gauge("netloom_stands_back", "Whether this server leaves the lead to a better placed one: 1 or 0"),
    gauge("netloom_servers_unreached", "Other servers that this one has not reached for ten seconds"),
    gauge("netloom_hosts", "Hosts that are known"),
    gauge("netloom_hosts_online", "Hosts connected to the broker; told by the server that leads"),
    gauge("netloom_commands_waiting", "Commands that wait for the writer"),
    gauge("netloom_notices_waiting", "Notices that wait for the hub"),
    gauge("netloom_inventory_waiting", "Hosts whose inventory is to be written"),
    counter("netloom_commits_total", "Changes committed"),
    counter("netloom_commit_failures_total", "Groups of changes the database did not take"),
    counter(
        "netloom_commit_conflicts_total",
        "Groups that were decided again because another server was faster",
    ),
    summary("netloom_commit_seconds", "Time of one commit, in seconds"),
    counter("netloom_followed_total", "Changes of other servers that were taken over"),
    summary(
        "netloom_follow_lag_seconds",
        "From a commit at another server until it is shown here, in seconds",
    ),
    summary("netloom_plan_seconds", "Time from changes to what each host is told of them, in seconds"),
    counter(
        "netloom_tellings_held_total",
        "Times that telling was put off because much still waits to leave",
    ),
    counter("netloom_pushed_total", "Messages to agents, by what became of them")
        .by("delivery", &["queued", "offline", "full", "too_large"]),
    counter("netloom_pushed_bytes_total", "Bytes of sealed messages to agents"),
    counter("netloom_maps_total", "Host maps fetched, by what was sent")
        .by("kind", &["current", "head", "delta", "parts"]),
    counter("netloom_registrations_total", "Registrations, by what became of them")
        .by("outcome", &["admitted", "refused", "busy"]),
    counter(
        "netloom_forwarded_total",
        "Agents' requests handed on to the server that leads, by whether it answered",
    )
    .by("outcome", &["answered", "no_answer"]),
    gauge(
        "netloom_broker_up",
        "0 while this server should carry messages and cannot; 1 otherwise, also while another server leads",
    ),
    gauge("netloom_broker_waiting", "Messages that wait to leave for hosts"),
    counter("netloom_broker_connects_total", "Attempts to connect to a broker that is not our own"),
    counter(
        "netloom_broker_overflows_total",
        "Times that what waited for a host was dropped and the host told to fetch its map",
    ),
    counter("netloom_connections_refused_total", "Connections closed because their address had too many"),
    counter("netloom_dns_queries_total", "Questions for names, by what became of them")
        .by("outcome", &["asked", "answered", "forwarded", "refused", "failed"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    const GUIDE: &str = include_str!("../../../docs/guide/metrics.md");

    fn word(kind: Kind) -> &'static str {
        match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        }
    }

    /// Its line in the guide.
    fn line(measure: &Measure) -> String {
        let Measure { name, kind, help, label } = measure;
        let label =
            label.map(|(label, values)| format!("`{label}`: {}", values.join(", "))).unwrap_or_default();
        format!("| `{name}` | {} | {label} | {help} |", word(*kind))
    }

    #[test]
    fn the_guide_names_all_metrics_and_no_others() {
        let told: BTreeSet<String> =
            GUIDE.lines().filter(|line| line.starts_with("| `netloom_")).map(str::to_owned).collect();
        let known: BTreeSet<String> = ALL.iter().map(line).collect();
        let missing: Vec<_> = known.difference(&told).collect();
        let strange: Vec<_> = told.difference(&known).collect();
        assert!(missing.is_empty() && strange.is_empty(), "missing: {missing:#?}\nnot there: {strange:#?}");
        assert_eq!(known.len(), ALL.len(), "one stands here twice");
    }

    #[test]
    fn all_are_there_from_the_start_with_kind_and_text() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, register);
        let text = recorder.handle().render();
        for Measure { name, kind, help, label } in ALL {
            assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}: {text}");
            assert!(text.contains(&format!("# TYPE {name} {}\n", word(*kind))), "{name}: {text}");
            for (label, value) in
                label.iter().flat_map(|(label, values)| values.iter().map(move |of| (label, of)))
            {
                assert!(text.contains(&format!("{name}{{{label}=\"{value}\"}} 0\n")), "{name}: {text}");
            }
        }
    }

    /// What the sources count, as macro and name.
    fn counted(folder: &Path, found: &mut BTreeSet<(String, String)>) {
        for entry in folder.read_dir().unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                counted(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("measures.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for part in text.split("metrics::").skip(1) {
                    let Some((kind, rest)) = part.split_once("!(") else { continue };
                    if ["counter", "gauge", "histogram"].contains(&kind) {
                        let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
                        let name =
                            name.unwrap_or_else(|| panic!("{}: {kind}! without a name", path.display()));
                        found.insert((kind.to_owned(), name.0.to_owned()));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_counted_that_is_not_known_and_nothing_known_is_not_counted() {
        let mut found = BTreeSet::new();
        counted(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let of = |kind: Kind| match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "histogram",
        };
        let known: BTreeSet<_> =
            ALL.iter().map(|measure| (of(measure.kind).to_owned(), measure.name.to_owned())).collect();
        let difference: Vec<_> = found.symmetric_difference(&known).collect();
        assert!(difference.is_empty(), "{difference:?}");
    }
}
