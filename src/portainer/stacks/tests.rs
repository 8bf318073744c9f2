use serde_json::{Value, json};

use super::*;

fn record(object: Value) -> Record {
    serde_json::from_value(object).unwrap()
}

fn file_stack() -> Value {
    json!({
        "Id": 3, "Name": "shop", "Type": 2, "EndpointId": 7, "Status": 1, "UpdateDate": 1_795_493_271, "UpdatedBy": "admin",
        "Env": [{ "name": "TAG", "value": "1" }, { "name": "DB_PASSWORD", "value": "hunter2" }],
        "AdditionalFiles": null, "AutoUpdate": null, "Option": null, "GitConfig": null, "FromAppTemplate": false, "ResourceControl": null,
    })
}

fn git_stack() -> Value {
    let mut stack = file_stack();
    stack["GitConfig"] = json!({
        "URL": "https://git.example/shop.git", "ReferenceName": "refs/heads/main", "ConfigFilePath": "compose.yml", "ConfigHash": "c795165",
        "Authentication": { "Username": "u", "Password": "", "GitCredentialID": 0 }, "TLSSkipVerify": false,
    });
    stack["AutoUpdate"] = json!({ "Interval": "5m" });
    stack
}

fn with(mut stack: Value, field: &str, value: Value) -> Value {
    stack[field] = value;
    stack
}

fn set(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// The body of an update of this stack, with nothing set.
fn body(stack: Value, repull: bool) -> Value {
    let update = Update::new(&record(stack), "services: {}", &BTreeMap::new(), repull);
    serde_json::to_value(update.body).unwrap()
}

#[test]
fn a_record_has_the_fields_of_portainer() {
    let record = record(file_stack());
    assert_eq!(
        (record.id, &*record.name, record.environment),
        (StackId(3), "shop", EnvironmentId(7))
    );
    assert_eq!(
        (record.kind, record.status),
        (Kind::Compose, StackStatus::Active)
    );
    assert_eq!(record.update_date, 1_795_493_271);
    assert_eq!(record.variables().get("TAG").map(String::as_str), Some("1"));
    assert!(!record.has_more_files);
    assert_eq!(record.deployment_message, None);
}

#[test]
fn a_missing_or_null_field_is_tolerated_except_the_ids() {
    let bare = record(json!({ "Id": 3, "Name": "shop", "EndpointId": 1 }));
    assert_eq!(
        (bare.kind, bare.status),
        (Kind::Other(0), StackStatus::Unspecified)
    );
    assert!(bare.env.is_empty());
    let mut nulls = file_stack();
    for field in nulls.as_object_mut().unwrap().iter_mut() {
        if !["Id", "Name", "EndpointId"].contains(&field.0.as_str()) {
            *field.1 = Value::Null;
        }
    }
    nulls["DeploymentStatus"] = Value::Null;
    nulls["WorkflowID"] = Value::Null;
    assert!(record(nulls).env.is_empty());
    for needed in ["Id", "Name", "EndpointId"] {
        let mut stack = file_stack();
        stack.as_object_mut().unwrap().remove(needed);
        assert!(serde_json::from_value::<Record>(stack).is_err(), "{needed}");
    }
}

#[test]
fn numbers_become_kinds_and_statuses() {
    let kinds = [
        (1, Kind::Swarm),
        (2, Kind::Compose),
        (3, Kind::Kubernetes),
        (9, Kind::Other(9)),
    ];
    for (number, kind) in kinds {
        assert_eq!(record(with(file_stack(), "Type", json!(number))).kind, kind);
    }
    let statuses = [
        (0, StackStatus::Unspecified),
        (1, StackStatus::Active),
        (2, StackStatus::Inactive),
        (3, StackStatus::Deploying),
        (4, StackStatus::Error),
        (5, StackStatus::Unspecified),
    ];
    for (number, status) in statuses {
        assert_eq!(
            record(with(file_stack(), "Status", json!(number))).status,
            status
        );
    }
}

#[test]
fn only_a_linked_stack_is_from_git() {
    let git = Origin::Git {
        config_hash: "c795165".to_owned(),
        reference: "refs/heads/main".to_owned(),
    };
    assert_eq!(record(file_stack()).origin(), Origin::File);
    assert_eq!(record(git_stack()).origin(), git);
    assert_eq!(
        record(with(git_stack(), "FromAppTemplate", json!(true))).origin(),
        Origin::File
    );
    let workflow = record(with(file_stack(), "WorkflowID", json!(12))).origin();
    assert!(matches!(workflow, Origin::Git { config_hash, .. } if config_hash.is_empty()));
    assert_eq!(
        record(with(file_stack(), "WorkflowID", json!(0))).origin(),
        Origin::File
    );
}

#[test]
fn the_last_message_of_a_deployment_is_kept() {
    let list = json!([
        { "Status": 3, "Time": 1, "Message": "" },
        { "Status": 4, "Time": 2, "Message": "compose up\nfailed" },
        { "Status": 4, "Time": 3, "Message": null },
    ]);
    let record = record(with(file_stack(), "DeploymentStatus", list));
    assert_eq!(
        record.deployment_message.as_deref(),
        Some("compose up failed")
    );
}

#[test]
fn an_update_of_a_file_stack_preserves_every_field() {
    assert_eq!(
        body(file_stack(), true),
        json!({
            "StackFileContent": "services: {}", "Prune": false, "PullImage": true, "RepullImageAndRedeploy": true,
            "Env": [{ "name": "TAG", "value": "1" }, { "name": "DB_PASSWORD", "value": "hunter2" }],
        })
    );
    let mut business = with(file_stack(), "Webhook", json!("9f1c"));
    business["Registries"] = json!([1, 4]);
    business["Option"] = json!({ "Prune": true });
    let echoed = body(business, false);
    assert_eq!(echoed["Webhook"], json!("9f1c"));
    assert_eq!(echoed["Registries"], json!([1, 4]));
    assert_eq!(echoed["Prune"], json!(true));
    assert_eq!(
        (&echoed["PullImage"], &echoed["RepullImageAndRedeploy"]),
        (&json!(false), &json!(false))
    );
}

#[test]
fn an_update_never_sends_null_for_the_variables() {
    assert_eq!(
        body(with(file_stack(), "Env", Value::Null), true)["Env"],
        json!([])
    );
    assert_eq!(
        body(with(git_stack(), "Env", Value::Null), true)["Env"],
        json!([])
    );
}

#[test]
fn an_update_of_a_git_stack_keeps_its_link_and_credentials() {
    assert_eq!(
        body(git_stack(), true),
        json!({
            "RepositoryReferenceName": "refs/heads/main", "RepositoryAuthentication": true, "RepositoryUsername": "u",
            "RepositoryPassword": "", "Prune": false, "PullImage": true, "RepullImageAndRedeploy": true,
            "Env": [{ "name": "TAG", "value": "1" }, { "name": "DB_PASSWORD", "value": "hunter2" }],
        })
    );
    let mut stack = git_stack();
    stack["GitConfig"]["Authentication"]["GitCredentialID"] = json!(5);
    assert_eq!(body(stack, true)["RepositoryGitCredentialID"], json!(5));
    let mut open = git_stack();
    open["GitConfig"]["Authentication"] = Value::Null;
    assert_eq!(body(open, true)["RepositoryAuthentication"], json!(false));
}

#[test]
fn an_app_template_is_updated_as_a_file() {
    let body = body(with(git_stack(), "FromAppTemplate", json!(true)), true);
    assert_eq!(body["StackFileContent"], json!("services: {}"));
}

#[test]
fn an_update_names_the_environment_of_the_stack() {
    let path = |stack| Update::new(&record(stack), "", &BTreeMap::new(), true).path();
    assert_eq!(path(file_stack()), "/api/stacks/3?endpointId=7");
    assert_eq!(path(git_stack()), "/api/stacks/3/git/redeploy?endpointId=7");
}

#[test]
fn variables_keep_their_order_and_new_ones_follow() {
    let check = |set: BTreeMap<String, String>, wanted: &[(&str, &str)]| {
        let merged = merged(&record(file_stack()).env, &set);
        let merged: Vec<_> = merged.iter().map(|one| (&*one.name, &*one.value)).collect();
        assert_eq!(merged, wanted);
    };
    check(BTreeMap::new(), &[("TAG", "1"), ("DB_PASSWORD", "hunter2")]);
    check(set("TAG", "2"), &[("TAG", "2"), ("DB_PASSWORD", "hunter2")]);
    check(
        set("A_NEW", ""),
        &[("TAG", "1"), ("DB_PASSWORD", "hunter2"), ("A_NEW", "")],
    );
}

#[test]
fn values_of_variables_are_never_shown() {
    let record = record(with(git_stack(), "Webhook", json!("9f1c")));
    let update = Update::new(&record, "services: {}", &set("TOKEN", "hunter3"), true);
    let shown = format!("{record:?} {update:?} {:?}", record.env);
    for secret in ["hunter2", "hunter3", "9f1c"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("DB_PASSWORD=***"), "{shown}");
}
