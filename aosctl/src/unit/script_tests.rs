use super::*;

fn command(line: &str) -> Command {
    parse(line).unwrap().unwrap()
}

fn refusal(line: &str) -> String {
    format!("{:#}", anyhow::Error::from(parse(line).unwrap_err()))
}

fn target(service: &str, index: i64, version: Option<u64>) -> Target {
    Target {
        instance: format!("{service}/subject/{index}"),
        version,
    }
}

#[test]
fn empty_lines_and_comments_are_nothing() {
    assert_eq!(parse("").unwrap(), None);
    assert_eq!(parse("  \t").unwrap(), None);
    assert_eq!(parse("# run x").unwrap(), None);
}

#[test]
fn each_way_to_send_a_state_sends_its_parts() {
    let parts = |line| match command(line) {
        Command::Deploy { source, parts } => (source, parts),
        other => panic!("{other:?}"),
    };
    let file = Source::File("a b.json".into());

    assert_eq!(parts("run a b.json"), (file.clone(), Parts::ALL));
    assert!(!parts("run-only a b.json").1.networks);
    assert!(!parts("networks a b.json").1.instances);
    assert!(parts("force a b.json").1.force_restart);
    let (source, parts) = parts("empty");
    assert_eq!(source, Source::Empty);
    assert!(parts.instances && !parts.networks);
}

#[test]
fn waits_have_a_goal_and_a_limit() {
    let wait = |goal, limit| Command::Wait { goal, limit };
    let seconds = |count| Some(Duration::from_secs_f64(count));

    assert_eq!(command("wait-registered"), wait(Goal::Registered, None));
    assert_eq!(command("wait-status 1.5"), wait(Goal::Status, seconds(1.5)));
    assert_eq!(
        command("wait-active web/subject/1 2"),
        wait(Goal::Active(target("web", 1, None)), seconds(2.0))
    );
    assert_eq!(
        command("wait-failed a/b/subject/0@7"),
        wait(Goal::Failed(target("a/b", 0, Some(7))), None)
    );
}

#[test]
fn unit_config_is_sent_as_it_is_written() {
    let request = command(r#"check-unit-config 1.0  {"a": "b  c""#);

    assert_eq!(
        request,
        Command::Request(SmIncomingMessage::CheckUnitConfig(CheckUnitConfig {
            unit_config: r#"{"a": "b  c""#.to_owned(),
            vendor_version: "1.0".to_owned(),
        }))
    );
}

#[test]
fn override_without_filter_selects_all() {
    let line = r#"override-env [{"vars": [{"id": "1", "variable": "A=b",
                  "ttl": "2026-11-21T00:00:00Z"}]}]"#;

    let Command::Request(SmIncomingMessage::OverrideEnvVars(request)) = command(line) else {
        panic!("another command");
    };

    let filter = request.env_vars[0].instance.as_ref().unwrap();
    assert_eq!((&*filter.service_id, &*filter.subject_id), ("", ""));
    assert_eq!(filter.instance, -1);
    assert_eq!(request.env_vars[0].vars[0].variable, "A=b");
    assert!(request.env_vars[0].vars[0].ttl.is_some());
}

#[test]
fn log_requests_take_filter_and_period() {
    let Command::Request(SmIncomingMessage::InstanceLogRequest(request)) =
        command("instance-log l1 web - - - 2026-11-21T00:00:00Z")
    else {
        panic!("another command");
    };

    let filter = request.instance.unwrap();
    assert_eq!((&*filter.service_id, &*filter.subject_id), ("web", ""));
    assert_eq!(filter.instance, -1);
    assert_eq!(request.from, None);
    assert!(request.till.is_some());
}

#[test]
fn crash_log_is_a_request_of_its_own() {
    let Command::Request(SmIncomingMessage::InstanceCrashLogRequest(request)) =
        command("crash-log l1 web subject 3")
    else {
        panic!("another command");
    };

    assert_eq!(request.log_id, "l1");
    assert_eq!(request.instance.unwrap().instance, 3);
}

#[test]
fn lines_that_are_no_command_say_what_is_wrong() {
    for (line, reason) in [
        ("rum x", "unknown command `rum`"),
        ("wait-forever", "unknown command `wait-forever`"),
        ("run", "run: expected a state file"),
        ("empty x", "empty: expected nothing more"),
        ("cloud maybe", "cloud: expected on or off"),
        ("wait-status soon", "`soon` is not a number of seconds"),
        ("wait-status -1", "`-1` is not a number of seconds"),
        ("wait-status 1 2", "expected [SECONDS]"),
        ("wait-active", "expected SERVICE/SUBJECT/INDEX"),
        (
            "wait-active web/subject",
            "`web/subject` is not an instance",
        ),
        ("wait-active web/subject/x", "is not an instance"),
        ("wait-active web/subject/0@x", "is not an instance"),
        ("set-unit-config 1.0", "expected VERSION JSON"),
        ("override-env {}", "override-env: invalid type: map"),
        (
            r#"override-env [{"vars": [], "svc": ""}]"#,
            "unknown field `svc`",
        ),
        ("system-log", "expected ID"),
        ("system-log l1 yesterday", "`yesterday` is not a time"),
        ("instance-log l1 web subject x", "`x` is not the index"),
        ("instance-log l1 web", "expected ID SERVICE SUBJECT INDEX"),
    ] {
        let text = refusal(line);

        assert!(text.contains(reason), "{line}: {text}");
    }
}
